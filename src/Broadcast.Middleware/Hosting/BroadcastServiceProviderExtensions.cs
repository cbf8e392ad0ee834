using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

/// <summary>Finds the services of a broadcast. A named broadcast uses its name as the key of its services.</summary>
static class BroadcastServiceProviderExtensions
{
    /// <summary>Returns a service. Null if the app did not register the service.</summary>
    public static T? GetBroadcastService<T>(this IServiceProvider services, string name) where T : class =>
        name == Options.DefaultName ? services.GetService<T>() : services.GetKeyedService<T>(name);
}
