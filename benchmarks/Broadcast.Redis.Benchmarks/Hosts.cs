using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Redis.Benchmarks;

/// <summary>Starts Kestrel on a free loopback port, without logging.</summary>
static class Hosts
{
    public static async Task<WebApplication> StartAsync(Action<WebApplicationBuilder> configure, Action<WebApplication> map)
    {
        var builder = WebApplication.CreateBuilder();
        builder.Logging.ClearProviders().SetMinimumLevel(LogLevel.None);
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        configure(builder);
        var app = builder.Build();
        map(app);
        await app.StartAsync();
        return app;
    }

    /// <summary>Starts a host with this library. Its groups are /rooms/{room}.</summary>
    public static Task<WebApplication> StartBroadcastAsync(string? redis, string prefix) => StartAsync(
        builder =>
        {
            var broadcast = builder.Services.AddBroadcast(static options =>
            {
                // Clients may be slower than a publisher that is as fast as Redis. Do not close these clients, because
                // SignalR does not close slow clients.
                options.MaxBacklogBytes = 256 * 1024 * 1024;
                // The clients do not answer pings.
                options.KeepAliveInterval = Timeout.InfiniteTimeSpan;
            });
            if (redis is not null) broadcast.AddRedis(redis, options => options.Prefix = prefix);
        },
        static app => app.MapBroadcast("/rooms/{room}"));

    public static Uri UriOf(WebApplication app, string path) => new(new(app.Urls.First()), path);
}
