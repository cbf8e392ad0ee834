using StackExchange.Redis;

namespace Broadcast.Redis.Benchmarks;

/// <summary>
/// Sends messages through Redis publish/subscribe, over two connections. Redis does not number or store these messages.
/// </summary>
sealed class RedisPath : MessagePath
{
    readonly ConnectionMultiplexer _from;
    readonly ConnectionMultiplexer _to;
    readonly IDatabase _database;
    readonly RedisChannel[] _channels;

    RedisPath(int groups, ConnectionMultiplexer from, ConnectionMultiplexer to) : base("StackExchange.Redis: PublishAsync to handler", groups)
    {
        (_from, _to, _database) = (from, to, from.GetDatabase());
        _channels = [.. Enumerable.Range(0, groups).Select(static i => RedisChannel.Literal($"plain:{i}"))];
    }

    public static async Task<MessagePath> CreateAsync(string redis, int groups)
    {
        var path = new RedisPath(groups, await ConnectionMultiplexer.ConnectAsync(redis), await ConnectionMultiplexer.ConnectAsync(redis));
        for (var i = 0; i < groups; i++)
        {
            var group = i;
            await path._to.GetSubscriber().SubscribeAsync(path._channels[i], (_, message) => path.Receive(group, Payload.Read(((ReadOnlyMemory<byte>)message).Span).Stamp));
        }

        await path.ProbeAsync();
        return path;
    }

    public override async ValueTask PublishAsync(int group, long stamp) => await _database.PublishAsync(_channels[group], Payload.Bytes(stamp, 0));

    public override async ValueTask DisposeAsync()
    {
        await _from.DisposeAsync();
        await _to.DisposeAsync();
    }
}
