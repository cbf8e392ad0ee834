using System.Collections.Concurrent;

namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>An app that records the join result of each client. A client can send its last position: <c>/ws?key=…&amp;after=…</c>.</summary>
sealed class AppNode : IAsyncDisposable
{
    public const string Group = "/ws";

    readonly ConcurrentDictionary<string, TaskCompletionSource<JoinResult>> _joins = new();
    readonly RedisApp _app;

    AppNode(string redis, Action<RedisBackplaneOptions> configure)
    {
        _app = new RedisApp(redis, ConfigureBroadcast, configure);
        _app.MapBroadcast(Group).UseConnect(async (context, next) =>
        {
            var query = context.HttpContext.Request.Query;
            if (Position.TryParse(query["after"], out var position)) context.Replay = Replay.After(position);
            try
            {
                await next(context);
            }
            finally
            {
                GetJoin(query["key"]!).SetResult(context.Result);
            }
        });
    }

    public IBroadcaster Broadcaster => _app.Broadcaster;

    public static async Task<AppNode> StartAsync(string redis, Action<RedisBackplaneOptions> configure)
    {
        var node = new AppNode(redis, configure);
        await node._app.StartAsync();
        return node;
    }

    public Uri CreateUri(string key, Position? after) => _app.GetUri("ws", $"{Group}?key={key}&after={after}");

    /// <summary>Returns the join result of the client with this key.</summary>
    public Task<JoinResult> GetJoinResultAsync(string key) => GetJoin(key).Task;

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    static void ConfigureBroadcast(BroadcastOptions options)
    {
        options.Groups[Group] = new() { HistoryMessages = 5_000, HistoryBytes = 16 * 1024 * 1024 };
        // On a busy machine, all clients can be slow. So raise or disable the limits that close slow clients.
        options.MaxBacklogBytes = 1 << 28;
        options.SendTimeout = Timeout.InfiniteTimeSpan;
        options.KeepAliveTimeout = Timeout.InfiniteTimeSpan;
        options.CloseTimeout = TimeSpan.FromMinutes(5);
        options.DrainTimeout = TimeSpan.Zero;
    }

    TaskCompletionSource<JoinResult> GetJoin(string key) =>
        _joins.GetOrAdd(key, static _ => new(TaskCreationOptions.RunContinuationsAsynchronously));
}
