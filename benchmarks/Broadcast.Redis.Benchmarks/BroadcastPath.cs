using Broadcast.Middleware;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Redis.Benchmarks;

/// <summary>
/// Sends messages through this library. One host publishes, and each group has one WebSocket client on another host.
/// </summary>
sealed class BroadcastPath : MessagePath
{
    readonly List<WebApplication> _hosts = [];
    readonly Client[] _clients;
    IBroadcaster _publisher = null!;

    BroadcastPath(string name, int groups) : base(name, groups) => _clients = [.. Enumerable.Range(0, groups).Select(i => new Client((stamp, _) => Receive(i, stamp)))];

    /// <param name="redis">The Redis configuration. Null for one host without a backplane.</param>
    /// <param name="groups">The number of groups.</param>
    public static async Task<MessagePath> CreateAsync(string? redis, int groups)
    {
        var path = new BroadcastPath(redis is null ? "ours: one host, no backplane, to client" : "ours: IBroadcaster.PublishAsync to client of other host", groups);
        path._hosts.Add(await Hosts.StartBroadcastAsync(redis, "app"));
        if (redis is not null) path._hosts.Add(await Hosts.StartBroadcastAsync(redis, "app"));
        path._publisher = path._hosts[0].Services.GetRequiredService<IBroadcaster>();
        for (var i = 0; i < groups; i++) await path._clients[i].ConnectAsync(Hosts.UriOf(path._hosts[^1], NameOf(i)));
        await path.ProbeAsync();
        return path;
    }

    public override async ValueTask PublishAsync(int group, long stamp) =>
        await _publisher.PublishAsync(new(Payload.Bytes(stamp, 0), MessageType.Text), Recipients.Group(NameOf(group)));

    public override async ValueTask DisposeAsync()
    {
        foreach (var client in _clients) await client.DisposeAsync();
        foreach (var host in _hosts) await host.DisposeAsync();
    }

    static string NameOf(int group) => $"/rooms/{group}";
}
