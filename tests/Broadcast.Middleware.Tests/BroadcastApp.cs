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

namespace Broadcast.Middleware.Tests;

/// <summary>A real Kestrel server on a free loopback port. By default, it maps /ws to the default broadcast.</summary>
sealed class BroadcastApp : IAsyncDisposable
{
    // The test script runs the tests without and with inline sends.
    static readonly bool InlineSends = Environment.GetEnvironmentVariable("BROADCAST_TEST_INLINE_SENDS") == "1";

    readonly WebApplication _app;

    BroadcastApp(WebApplication app) => _app = app;

    public IServiceProvider Services => _app.Services;

    public IBroadcaster Broadcaster => Services.GetRequiredService<IBroadcaster>();

    public IConnectionRegistry Registry => Services.GetRequiredService<IConnectionRegistry>();

    public FakeLogCollector Logs => Services.GetRequiredService<FakeLogCollector>();

    public int Port { get; private set; }

    public static async Task<BroadcastApp> StartAsync(
        Action<WebApplicationBuilder>? configure = null,
        Action<WebApplication>? map = null,
        Action<BroadcastOptions>? options = null,
        HttpProtocols protocols = HttpProtocols.Http1,
        Action<ListenOptions>? listen = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders().AddFakeLogging().SetMinimumLevel(LogLevel.Debug);
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, endpoint =>
        {
            endpoint.Protocols = protocols;
            if (InlineSends) endpoint.UseInlineSends();
            listen?.Invoke(endpoint);
        }));
        builder.Services.AddBroadcast(options);
        configure?.Invoke(builder);
        var app = builder.Build();
        if (map is null) app.MapBroadcast("/ws");
        else map(app);
        await app.StartAsync(TestContext.Current.CancellationToken);
        var address = app.Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses.Single();
        return new BroadcastApp(app) { Port = new Uri(address).Port };
    }

    public Task StopAsync() => _app.StopAsync(TestContext.Current.CancellationToken);

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
