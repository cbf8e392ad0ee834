using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>An app on Kestrel with a Redis backplane.</summary>
sealed class RedisApp : IAsyncDisposable
{
    readonly WebApplication _app;
    int _port;

    public RedisApp(
        string redis,
        Action<BroadcastOptions> configureBroadcast,
        Action<RedisBackplaneOptions> configureRedis,
        Action<WebApplicationBuilder>? configure = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(static kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        configure?.Invoke(builder);
        builder.Services.AddBroadcast(configureBroadcast).AddRedis(redis, options =>
        {
            options.Prefix = "test";
            configureRedis(options);
        });
        _app = builder.Build();
    }

    public IServiceProvider Services => _app.Services;

    public IBroadcaster Broadcaster => Services.GetRequiredService<IBroadcaster>();

    public BroadcastEndpointConventionBuilder MapBroadcast(string pattern) => _app.MapBroadcast(pattern);

    public async Task StartAsync()
    {
        await _app.StartAsync(TestContext.Current.CancellationToken);
        var addresses = Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>();
        _port = new Uri(addresses.Addresses.Single()).Port;
    }

    public Uri GetUri(string scheme, string path) => new($"{scheme}://127.0.0.1:{_port}{path}");

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync(CancellationToken.None);
        await _app.DisposeAsync();
    }
}
