using Broadcast.Middleware.Redis.Connections;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Subscriptions;

/// <summary>Receives the messages of one Redis channel.</summary>
sealed class ChannelListener(RedisConnection connection, Action<ChannelMessage> onMessage)
{
    readonly Lock _lock = new();
    ChannelMessageQueue? _queue;
    bool _isClosed;

    /// <summary>Subscribes to the channel and waits for the confirmation of Redis.</summary>
    public async Task OpenAsync(
        byte[] channelName, long deadline, CancellationToken cancellationToken, bool retries = true)
    {
        var channel = RedisChannel.Literal(channelName);
        await connection.ExecuteAsync(
            async multiplexer =>
            {
                var subscriber = multiplexer.GetSubscriber();
                // Subscribe with a probe handler first, and wait for the confirmation. If the subscription fails, the
                // code can remove the probe. A queue would stay registered after a failed subscription, and would grow.
                Action<RedisChannel, RedisValue> probe = static (_, _) => { };
                try
                {
                    await subscriber.SubscribeAsync(channel, probe);
                    var queue = subscriber.Subscribe(channel, CommandFlags.FireAndForget);
                    // An attempt can still complete after its timeout. So two attempts can reach this line, but only
                    // one queue may stay.
                    if (TrySetQueue(queue)) queue.OnMessage(onMessage);
                    else Unsubscribe(queue);
                    return true;
                }
                finally
                {
                    IgnoreConnectionErrors(
                        () => subscriber.Unsubscribe(channel, probe, CommandFlags.FireAndForget));
                }
            },
            deadline, retries, cancellationToken: cancellationToken);
    }

    /// <summary>Replaces a stalled subscription with a new subscription.</summary>
    public Task ReopenAsync(byte[] channelName, long deadline, CancellationToken cancellationToken)
    {
        UnsubscribeQueue();
        return OpenAsync(channelName, deadline, cancellationToken);
    }

    public void Close()
    {
        lock (_lock) _isClosed = true;
        UnsubscribeQueue();
    }

    bool TrySetQueue(ChannelMessageQueue queue)
    {
        lock (_lock)
        {
            if (_isClosed || _queue is not null) return false;
            _queue = queue;
            return true;
        }
    }

    void UnsubscribeQueue()
    {
        ChannelMessageQueue? queue;
        lock (_lock) (queue, _queue) = (_queue, null);
        if (queue is not null) Unsubscribe(queue);
    }

    // Redis executes the commands of a connection in order. So this method does not wait for the answer of Redis.
    static void Unsubscribe(ChannelMessageQueue queue) =>
        IgnoreConnectionErrors(() => queue.Unsubscribe(CommandFlags.FireAndForget));

    static void IgnoreConnectionErrors(Action unsubscribe)
    {
        try
        {
            unsubscribe();
        }
        catch (Exception exception) when (exception is RedisException or TimeoutException or ObjectDisposedException)
        {
            // Ignore the error, because Redis drops the subscriptions of a lost connection.
        }
    }
}
