using System.Collections.Concurrent;
using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>An app on Kestrel. A client can send its last position: <c>/ws?key=…&amp;after=…</c>.</summary>
sealed class AppNode : IAsyncDisposable
{
    public const string Group = "/ws";

    readonly ConcurrentDictionary<string, TaskCompletionSource<JoinResult>> _joins = new();
    readonly WebApplication _app;
    int _port;

    AppNode(string redis, Action<RedisBackplaneOptions> configure)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(static kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        builder.Services.AddBroadcast(ConfigureBroadcast).AddRedis(redis, options =>
        {
            options.Prefix = "test";
            configure(options);
        });
        _app = builder.Build();
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

    public IBroadcaster Broadcaster => _app.Services.GetRequiredService<IBroadcaster>();

    public static async Task<AppNode> StartAsync(string redis, Action<RedisBackplaneOptions> configure)
    {
        var node = new AppNode(redis, configure);
        await node._app.StartAsync(TestContext.Current.CancellationToken);
        var server = node._app.Services.GetRequiredService<IServer>();
        var addresses = server.Features.GetRequiredFeature<IServerAddressesFeature>().Addresses;
        node._port = new Uri(addresses.Single()).Port;
        return node;
    }

    public Uri CreateUri(string key, Position? after) => new($"ws://127.0.0.1:{_port}{Group}?key={key}&after={after}");

    /// <summary>Returns the join result of the client with this key.</summary>
    public Task<JoinResult> GetJoinResultAsync(string key) => GetJoin(key).Task;

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync(CancellationToken.None);
        await _app.DisposeAsync();
    }

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
