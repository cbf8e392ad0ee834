using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>A real Kestrel server on a free loopback port. By default, the server maps /ws to the default broadcast.</summary>
sealed class BroadcastApp : IAsyncDisposable
{
    readonly WebApplication _app;
    bool _isDisposed;

    BroadcastApp(WebApplication app) => _app = app;

    public IServiceProvider Services => _app.Services;

    public IBroadcaster Broadcaster => Services.GetRequiredService<IBroadcaster>();

    public IConnectionRegistry Registry => Services.GetRequiredService<IConnectionRegistry>();

    public FakeLogCollector Logs => Services.GetRequiredService<FakeLogCollector>();

    public int Port { get; private set; }

    /// <param name="configure">Configures the host.</param>
    /// <param name="map">Maps the endpoints.</param>
    /// <param name="options">Sets the broadcast's options.</param>
    /// <param name="protocols">The HTTP protocols that the server accepts.</param>
    /// <param name="listen">Configures the endpoint on which the server listens.</param>
    /// <param name="choosesSends">
    /// True if the test itself chooses between the server's own sends and inline sends. Such a test does the same in
    /// both passes of <see cref="TestPass"/>.
    /// </param>
    public static async Task<BroadcastApp> StartAsync(
        Action<WebApplicationBuilder>? configure = null,
        Action<WebApplication>? map = null,
        Action<BroadcastOptions>? options = null,
        HttpProtocols protocols = HttpProtocols.Http1,
        Action<ListenOptions>? listen = null,
        bool choosesSends = false)
    {
        if (!choosesSends) TestPass.AssertRunsTwice();
        // The tests start more than a thousand apps. An app that watches configuration files and records debug messages
        // of the framework needs more CPU time than many of the tests.
        var builder = WebApplication.CreateSlimBuilder(["--hostBuilder:reloadConfigOnChange=false"]);
        builder.Logging.ClearProviders().AddFakeLogging().SetMinimumLevel(LogLevel.Debug)
            .AddFilter("Microsoft", LogLevel.Information).AddFilter("System", LogLevel.Information);
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, endpoint =>
        {
            endpoint.Protocols = protocols;
            listen?.Invoke(endpoint);
        }));
        builder.Services.AddBroadcast(all =>
        {
            // These timeouts must not end connections on a busy machine. Tests of the timeouts use a manual clock or
            // set the options themselves.
            if (!builder.Services.Any(static service => service.ServiceType == typeof(TimeProvider) && service.ImplementationInstance != TimeProvider.System))
            {
                all.KeepAliveInterval = all.SendTimeout = Timeout.InfiniteTimeSpan;
                all.CloseTimeout = TimeSpan.FromSeconds(30);
            }

            options?.Invoke(all);
        });
        if (TestPass.RequestsStayOpen && !choosesSends)
            builder.Services.Configure<BroadcastServerOptions>(static server => server.SendsInline = server.HandsOverConnections = false);
        configure?.Invoke(builder);
        var app = builder.Build();
        if (map is null) app.MapBroadcast("/ws");
        else map(app);
        await app.StartAsync(TestContext.Current.CancellationToken);
        var address = app.Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses.Single();
        return new BroadcastApp(app) { Port = new Uri(address).Port };
    }

    /// <summary>Keeps the request of each connection open, so that a test can look at the request.</summary>
    public static void KeepRequestsOpen(WebApplicationBuilder builder) =>
        builder.Services.Configure<BroadcastServerOptions>(static server => server.HandsOverConnections = false);

    /// <summary>Starts an app with a manual clock. All clients may join any group and publish to any group.</summary>
    public static Task<BroadcastApp> StartReliableAsync(
        RecoveryClock clock,
        Action<BroadcastOptions>? options = null,
        Action<WebApplication>? map = null,
        Action<WebApplicationBuilder>? configure = null,
        HttpProtocols protocols = HttpProtocols.Http1) => StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddSingleton<TimeProvider>(clock).AddSingleton<IGroupAuthorizer>(Rules.AllowAll);
            configure?.Invoke(builder);
        },
        map,
        all =>
        {
            (all.RecoveryTimeout, all.KeepAliveInterval) = (RecoveryClock.Timeout, Timeout.InfiniteTimeSpan);
            options?.Invoke(all);
        },
        protocols);

    public BroadcastInstance Inside() => Services.GetRequiredKeyedService<BroadcastInstance>("");

    /// <summary>The number of unacknowledged bytes that the server keeps for clients.</summary>
    public long Kept() => Inside().Groups.GetSettings("").Budget!.Used;

    public Task PublishAsync(params string[] messages) => PublishToAsync(Recipients.Everyone, messages);

    public async Task PublishToAsync(Recipients recipients, params string[] messages)
    {
        foreach (var message in messages) await Broadcaster.PublishAsync(message, recipients, cancellationToken: TestContext.Current.CancellationToken);
    }

    /// <summary>Waits until the server has no connections, no groups, and no unacknowledged bytes.</summary>
    public async Task IsEmptyAsync()
    {
        await Eventually.True(() => Registry.Count == 0);
        await Eventually.True(() => Inside().Groups.Count == 0);
        await Eventually.True(() => Kept() == 0);
    }

    /// <summary>
    /// Waits until the pumps of all connections have run the work that was queued before this call. If the test has
    /// advanced the fake clock, each connection has then processed the heartbeat.
    /// </summary>
    public Task SettleAsync() => Task.WhenAll(
        Registry.Connections.Cast<Connection>().Select(connection => connection.Writer.Pump).Distinct().Select(PumpBarrier.PassAsync));

    public void StopApplication() => _app.Lifetime.StopApplication();

    public Task StopAsync() => _app.StopAsync(TestContext.Current.CancellationToken);

    public ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _isDisposed, true)) return default;
        // Stop the app first, so that the sessions of disconnected clients end. Otherwise, the server would wait one
        // second for their requests.
        _app.Lifetime.StopApplication();
        return _app.DisposeAsync();
    }
}
