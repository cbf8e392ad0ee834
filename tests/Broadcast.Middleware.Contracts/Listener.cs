using System.Collections.Concurrent;
using System.Text;

namespace Broadcast.Middleware.Contracts;

/// <summary>
/// A receiver that records the messages of one node, and detects overlapping calls for the same group.
/// </summary>
sealed class Listener(IBackplane backplane, TimeSpan patience) : IBackplaneReceiver
{
    readonly ConcurrentDictionary<string, Heard> _groups = new(StringComparer.Ordinal);

    public IBackplane Backplane => backplane;

    public ValueTask<Position> PublishAsync(string group, string text, GroupOptions? history = null, RetainedKey? key = null) =>
        backplane.PublishAsync(group, Encoding.UTF8.GetBytes(text), history, key, TestContext.Current.CancellationToken);

    public ValueTask<(Position Position, bool IsDuplicate)> PublishOnceAsync(
        string group, string id, string text, TimeSpan? window = null, GroupOptions? history = null, RetainedKey? key = null) =>
        backplane.PublishOnceAsync(
            group, id, window ?? TimeSpan.FromMinutes(10), Encoding.UTF8.GetBytes(text), history, key, TestContext.Current.CancellationToken);

    /// <summary>Reserves an ID. Returns null if a message with this ID has been published.</summary>
    public async Task<string?> ReserveAsync(string group, string id, string value, TimeSpan? window = null) =>
        await backplane.ReserveAsync(
            group, id, window ?? TimeSpan.FromMinutes(5), Encoding.UTF8.GetBytes(value), TestContext.Current.CancellationToken) is { } reserved
            ? Encoding.UTF8.GetString(reserved.Span)
            : null;

    public ValueTask PublishTransientAsync(string group, string text) =>
        backplane.PublishTransientAsync(group, Encoding.UTF8.GetBytes(text), TestContext.Current.CancellationToken);

    public ValueTask<BackplaneSubscription> SubscribeAsync(string group, GroupOptions? history = null) =>
        backplane.SubscribeAsync(group, history, TestContext.Current.CancellationToken);

    public void Unsubscribe(string group) => backplane.Unsubscribe(group);

    /// <summary>Clears the received messages and the losses of the group, but not its transient messages.</summary>
    public void Begin(string group)
    {
        var received = MessagesOf(group);
        lock (received) received.Messages.Clear();
        Volatile.Write(ref received.Losses, 0);
    }

    public (Position Position, string Text)[] Heard(string group)
    {
        var received = MessagesOf(group);
        lock (received) return [.. received.Messages.Select(message => (message.Position, Encoding.UTF8.GetString(message.Bytes)))];
    }

    public byte[][] HeardBytes(string group)
    {
        var received = MessagesOf(group);
        lock (received) return [.. received.Messages.Select(message => message.Bytes)];
    }

    /// <summary>
    /// Returns the transient messages. Each entry also has the position before the message, and the number of stored
    /// messages that the node had received before the message.
    /// </summary>
    public (Position After, int Earlier, string Text)[] HeardTransient(string group)
    {
        var received = MessagesOf(group);
        lock (received) return [.. received.TransientMessages];
    }

    public int Losses(string group) => Volatile.Read(ref MessagesOf(group).Losses);

    /// <summary>
    /// Waits until the node has received this number of messages in the group. Fails if the node has received more
    /// messages, or has lost messages before this number.
    /// </summary>
    public async Task HeardAsync(string group, int count)
    {
        var received = MessagesOf(group);
        await EventuallyAsync(() => new(Count() >= count || received.Overlapped || Losses(group) > 0), patience, $"{count} messages must arrive. At the start of the wait, {Count()} messages had arrived.");
        Assert.False(received.Overlapped, "Calls about one group must not overlap.");
        Assert.Equal(count, Count());

        int Count()
        {
            lock (received) return received.Messages.Count;
        }
    }

    /// <summary>Waits until a message after the position arrives.</summary>
    public Task SomethingHeardAsync(string group, Position start) =>
        EventuallyAsync(() => new(Heard(group).Any(message => message.Position.Offset > start.Offset)), patience, "A message arrives.");

    /// <summary>
    /// Asserts that the received messages follow the position without a gap. Ignores late messages of the previous
    /// subscription.
    /// </summary>
    public void Continues(string group, Position start)
    {
        var received = MessagesOf(group);
        lock (received)
        {
            received.Messages.RemoveAll(message => message.Position.Offset <= start.Offset);
            Assert.Equal(
                Enumerable.Range(1, received.Messages.Count).Select(i => new Position(start.Epoch, start.Offset + i)), received.Messages.Select(message => message.Position));
        }
    }

    void IBackplaneReceiver.OnMessage(string group, Position position, ReadOnlyMemory<byte> message)
    {
        var received = MessagesOf(group);
        received.Enter();
        lock (received) received.Messages.Add((position, message.ToArray()));
        received.Leave();
    }

    void IBackplaneReceiver.OnTransientMessage(string group, Position after, ReadOnlyMemory<byte> message)
    {
        var received = MessagesOf(group);
        received.Enter();
        lock (received) received.TransientMessages.Add((after, received.Messages.Count, Encoding.UTF8.GetString(message.Span)));
        received.Leave();
    }

    void IBackplaneReceiver.OnLost(string group)
    {
        var received = MessagesOf(group);
        received.Enter();
        Interlocked.Increment(ref received.Losses);
        received.Leave();
    }

    public static async Task EventuallyAsync(Func<ValueTask<bool>> condition, TimeSpan within, string description)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (!await condition())
        {
            if (TimeProvider.System.GetElapsedTime(started) > within) Assert.Fail($"Not true within {within}: {description}");
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }
    }

    Heard MessagesOf(string group) => _groups.GetOrAdd(group, static _ => new());
}

/// <summary>The received messages of one group.</summary>
sealed class Heard
{
    int _inside;

    public List<(Position Position, byte[] Bytes)> Messages { get; } = [];

    public List<(Position After, int Earlier, string Text)> TransientMessages { get; } = [];

    public int Losses;

    public bool Overlapped { get; private set; }

    public void Enter()
    {
        if (Interlocked.Increment(ref _inside) > 1) Overlapped = true;
    }

    public void Leave() => Interlocked.Decrement(ref _inside);
}
