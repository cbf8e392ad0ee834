using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Redis.Benchmarks;

/// <summary>Kestrel on a free port of the loopback, without a word of logging.</summary>
static class Hosts
{
    public static async Task<WebApplication> StartAsync(Action<WebApplicationBuilder> configure, Action<WebApplication> map, bool inline = false)
    {
        var builder = WebApplication.CreateBuilder();
        builder.Logging.ClearProviders().SetMinimumLevel(LogLevel.None);
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen =>
        {
            if (inline) listen.UseInlineSends();
        }));
        configure(builder);
        var app = builder.Build();
        map(app);
        await app.StartAsync();
        return app;
    }

    /// <summary>Groups are what begins with /rooms/.</summary>
    public static Task<WebApplication> StartBroadcastAsync(string? redis, string prefix) => StartAsync(
        builder =>
        {
            var broadcast = builder.Services.AddBroadcast(static options =>
            {
                // A publish that is as fast as Redis leaves clients behind: here they are late, as SignalR's are, and not cut off.
                options.MaxBacklogBytes = 256 * 1024 * 1024;
                // The clients do not answer.
                options.KeepAliveInterval = Timeout.InfiniteTimeSpan;
            });
            if (redis is not null) broadcast.AddRedis(redis, options => options.Prefix = prefix);
        },
        static app => app.MapBroadcast("/rooms/{room}"),
        inline: true);

    public static Uri UriOf(WebApplication app, string path) => new(new(app.Urls.First()), path);
}
