using System.Collections.Concurrent;
using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Redis.Tests.Apps;

/// <summary>An app on a real Kestrel, whose clients may say where they were: <c>/ws?key=…&amp;after=…</c>.</summary>
sealed class AppNode : IAsyncDisposable
{
    public const string Group = "/ws";

    readonly ConcurrentDictionary<string, TaskCompletionSource<JoinResult>> _joined = new();
    readonly WebApplication _app;
    int _port;

    AppNode(string redis, Action<RedisBackplaneOptions> configure)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(static kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        builder.Services.AddBroadcast(static options =>
        {
            options.Groups[Group] = new() { HistoryMessages = 5_000, HistoryBytes = 16 * 1024 * 1024 };
            // Clients that are slow because the machine is are another matter.
            (options.MaxBacklogBytes, options.SendTimeout, options.KeepAliveTimeout) = (1 << 28, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            options.DrainTimeout = TimeSpan.Zero;
        }).AddRedis(redis, options =>
        {
            options.Prefix = "test";
            configure(options);
        });
        _app = builder.Build();
        _app.MapBroadcast(Group).UseConnect(async (context, next) =>
        {
            var query = context.Connection.HttpContext.Request.Query;
            if (Position.TryParse(query["after"], out var position)) context.Replay = Replay.After(position);
            try
            {
                await next(context);
            }
            finally
            {
                JoinOf(query["key"]!).SetResult(context.Result);
            }
        });
    }

    public IBroadcaster Broadcaster => _app.Services.GetRequiredService<IBroadcaster>();

    public static async Task<AppNode> StartAsync(string redis, Action<RedisBackplaneOptions> configure)
    {
        var node = new AppNode(redis, configure);
        await node._app.StartAsync(TestContext.Current.CancellationToken);
        var addresses = node._app.Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses;
        node._port = new Uri(addresses.Single()).Port;
        return node;
    }

    public Uri UriFor(string key, Position? after) => new($"ws://127.0.0.1:{_port}{Group}?key={key}&after={after}");

    /// <summary>Where the client with this key has joined, or that it has not.</summary>
    public Task<JoinResult> JoinedAsync(string key) => JoinOf(key).Task;

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync(CancellationToken.None);
        await _app.DisposeAsync();
    }

    TaskCompletionSource<JoinResult> JoinOf(string key) => _joined.GetOrAdd(key, static _ => new(TaskCreationOptions.RunContinuationsAsynchronously));
}
