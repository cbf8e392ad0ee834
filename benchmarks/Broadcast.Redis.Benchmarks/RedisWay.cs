using StackExchange.Redis;

namespace Broadcast.Redis.Benchmarks;

/// <summary>Redis's own publish and subscribe, over two connections: nothing is numbered or kept.</summary>
sealed class RedisWay : Way
{
    readonly ConnectionMultiplexer _from;
    readonly ConnectionMultiplexer _to;
    readonly IDatabase _database;
    readonly RedisChannel[] _channels;

    RedisWay(int groups, ConnectionMultiplexer from, ConnectionMultiplexer to) : base("StackExchange.Redis: PublishAsync to handler", groups)
    {
        (_from, _to, _database) = (from, to, from.GetDatabase());
        _channels = [.. Enumerable.Range(0, groups).Select(static i => RedisChannel.Literal($"plain:{i}"))];
    }

    public static async Task<Way> CreateAsync(string redis, int groups)
    {
        var way = new RedisWay(groups, await ConnectionMultiplexer.ConnectAsync(redis), await ConnectionMultiplexer.ConnectAsync(redis));
        for (var i = 0; i < groups; i++)
        {
            var group = i;
            await way._to.GetSubscriber().SubscribeAsync(way._channels[i], (_, message) => way.Receive(group, Payload.Read(((ReadOnlyMemory<byte>)message).Span).Stamp));
        }

        await way.ProbeAsync();
        return way;
    }

    public override async ValueTask PublishAsync(int group, long stamp) => await _database.PublishAsync(_channels[group], Payload.Bytes(stamp, 0));

    public override async ValueTask DisposeAsync()
    {
        await _from.DisposeAsync();
        await _to.DisposeAsync();
    }
}
