using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

/// <summary>Finds the services of a broadcast. The services of a named broadcast are keyed by its name.</summary>
static class BroadcastServiceProviderExtensions
{
    /// <summary>Returns null if the service is not registered.</summary>
    public static T? GetBroadcastService<T>(this IServiceProvider services, string name) where T : class =>
        name == Options.DefaultName ? services.GetService<T>() : services.GetKeyedService<T>(name);
}
