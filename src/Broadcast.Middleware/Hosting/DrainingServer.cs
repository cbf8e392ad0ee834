using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Hosting;

/// <summary>
/// Decorates Kestrel. The stop of this server does not wait for the connections of this library. In a
/// <c>WebApplication</c>, the host stops the server first, and the server waits for all requests and connections. So
/// without this class, all connections would end before the hosted services of the app stop.
/// </summary>
/// <remarks>
/// The host still waits for all other requests before it stops the next hosted service. <see cref="DrainService"/>
/// waits until Kestrel has stopped.
/// </remarks>
sealed class DrainingServer(IServer kestrel, DrainSchedule schedule) : IServer
{
    int _requests;

    public IFeatureCollection Features => kestrel.Features;

    /// <summary>Completes when Kestrel has stopped.</summary>
    public Task Stopped { get; private set; } = Task.CompletedTask;

    /// <summary>
    /// Replaces Kestrel with this class. The call has no effect if Kestrel is not the last server that the app has
    /// registered before the call.
    /// </summary>
    public static void Decorate(IServiceCollection services)
    {
        for (var i = services.Count - 1; i >= 0; i--)
        {
            var descriptor = services[i];
            if (descriptor.ServiceType != typeof(IServer) || descriptor.IsKeyedService) continue;
            if (descriptor.ImplementationType is not { } type || !IsKestrel(type)) return;
            services.AddSingleton(type);
            services[i] = ServiceDescriptor.Singleton<IServer>(provider => new DrainingServer(
                (IServer)provider.GetRequiredService(type), provider.GetRequiredService<DrainSchedule>()));
            return;
        }
    }

    /// <summary>
    /// True if the app has added Kestrel after <see cref="Decorate"/>. The host uses the last registered server, for
    /// example the server of a later call of <c>UseKestrel</c>.
    /// </summary>
    public static bool IsBypassed(IServiceProvider services) =>
        services.GetService<IServer>() is { } server && IsKestrel(server.GetType());

    public Task StartAsync<TContext>(IHttpApplication<TContext> application, CancellationToken cancellationToken)
        where TContext : notnull =>
        kestrel.StartAsync(new CountedApplication<TContext>(application, this), cancellationToken);

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        Stopped = kestrel.StopAsync(cancellationToken);
        await schedule.WaitForServerAsync(Stopped, () => Volatile.Read(ref _requests));
    }

    // The container disposes Kestrel.
    public void Dispose() { }

    static bool IsKestrel(Type server) => server.Assembly == typeof(KestrelServerOptions).Assembly;

    /// <summary>Counts the requests of an app.</summary>
    sealed class CountedApplication<TContext>(IHttpApplication<TContext> application, DrainingServer server)
        : IHttpApplication<TContext>
        where TContext : notnull
    {
        public TContext CreateContext(IFeatureCollection contextFeatures)
        {
            Interlocked.Increment(ref server._requests);
            return application.CreateContext(contextFeatures);
        }

        public Task ProcessRequestAsync(TContext context) => application.ProcessRequestAsync(context);

        public void DisposeContext(TContext context, Exception? exception)
        {
            Interlocked.Decrement(ref server._requests);
            application.DisposeContext(context, exception);
        }
    }
}
