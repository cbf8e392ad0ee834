using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware;

/// <summary>Configures a broadcast that <c>AddBroadcast</c> has added.</summary>
public interface IBroadcastBuilder
{
    /// <summary>The name of the broadcast. Empty for the default broadcast.</summary>
    string Name { get; }

    /// <summary>The services of the app.</summary>
    IServiceCollection Services { get; }
}
