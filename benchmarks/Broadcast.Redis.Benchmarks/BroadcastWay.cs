using Broadcast.Middleware;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Redis.Benchmarks;

/// <summary>This library as an app has it: published on one host, received by a WebSocket client of another one in each group.</summary>
sealed class BroadcastWay : Way
{
    readonly List<WebApplication> _hosts = [];
    readonly Client[] _clients;
    IBroadcaster _publisher = null!;

    BroadcastWay(string name, int groups) : base(name, groups) => _clients = [.. Enumerable.Range(0, groups).Select(i => new Client((stamp, _) => Receive(i, stamp)))];

    /// <param name="redis">Null for one host without a backplane.</param>
    /// <param name="groups">How many.</param>
    public static async Task<Way> CreateAsync(string? redis, int groups)
    {
        var way = new BroadcastWay(redis is null ? "ours: one host, no backplane, to client" : "ours: IBroadcaster.PublishAsync to client of other host", groups);
        way._hosts.Add(await Hosts.StartBroadcastAsync(redis, "app"));
        if (redis is not null) way._hosts.Add(await Hosts.StartBroadcastAsync(redis, "app"));
        way._publisher = way._hosts[0].Services.GetRequiredService<IBroadcaster>();
        for (var i = 0; i < groups; i++) await way._clients[i].ConnectAsync(Hosts.UriOf(way._hosts[^1], NameOf(i)));
        await way.ProbeAsync();
        return way;
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
