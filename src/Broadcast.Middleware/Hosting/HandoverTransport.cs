using Broadcast.Middleware.Transports;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

/// <summary>Wraps the socket transport of Kestrel in a <see cref="HandoverListenerFactory"/>.</summary>
static class HandoverTransport
{
    /// <summary>
    /// Replaces the socket transport. If the app adds Kestrel later, Kestrel uses the transport that this method adds.
    /// The method does not change transports of the app.
    /// </summary>
    public static void Decorate(IServiceCollection services)
    {
        services.TryAddSingleton<SocketTransportFactory>();
        var isAdded = false;
        for (var i = 0; i < services.Count; i++)
        {
            if (services[i].ServiceType != typeof(IConnectionListenerFactory) || services[i].IsKeyedService) continue;
            isAdded = true;
            if (services[i].ImplementationType == typeof(SocketTransportFactory))
                services[i] = ServiceDescriptor.Singleton(Create);
        }

        if (!isAdded) services.AddSingleton(Create);
    }

    static IConnectionListenerFactory Create(IServiceProvider services)
    {
        var options = services.GetRequiredService<IOptions<BroadcastServerOptions>>().Value;
        var limits = services.GetRequiredService<IOptions<KestrelServerOptions>>().Value.Limits;
        // Kestrel enforces these limits only for connections that Kestrel serves, not for handed-over connections.
        var hasLimit = (limits.MaxConcurrentConnections ?? limits.MaxConcurrentUpgradedConnections) is not null;
        var schedule = services.GetRequiredService<DrainSchedule>();
        return new HandoverListenerFactory(
            services.GetRequiredService<SocketTransportFactory>(),
            new(
                options.HandsOverConnections && !hasLimit,
                options.SendsInline,
                schedule.WaitAtShutdown,
                services.GetService<IHostApplicationLifetime>()?.ApplicationStopping ?? CancellationToken.None,
                schedule.Abandoned));
    }
}
