namespace Broadcast.Middleware.Redis.Tests.Apps;

/// <summary>Publishes one message after the other, without waiting for each one's answer, and notes what it is told.</summary>
sealed class Publisher(IBroadcaster broadcaster, int number, string group)
{
    /// <summary>How many answers it waits for at once.</summary>
    public const int Window = 64;

    // Null for one of which it was told an error, or nothing yet.
    readonly List<Position?> _told = [];
    int _waiting;

    public int Number => number;

    /// <summary>How many answers it waits for.</summary>
    public int Waiting => Volatile.Read(ref _waiting);

    public int Failed => Told.Count(static position => position is null);

    /// <summary>What it was told of each message, when it is not publishing.</summary>
    public Position?[] Told
    {
        get
        {
            lock (_told) return [.. _told];
        }
    }

    /// <param name="count">How many more.</param>
    /// <param name="onPublishing">Before each.</param>
    public async Task PublishAsync(int count, Action? onPublishing = null)
    {
        var waiting = new Queue<Task>();
        for (var i = 0; i < count; i++)
        {
            if (waiting.Count == Window) await waiting.Dequeue();
            onPublishing?.Invoke();
            waiting.Enqueue(OneAsync());
        }

        await Task.WhenAll(waiting);
    }

    /// <summary>Publishes one more, again and again until it is told no error, and says where it stands.</summary>
    public async Task<(MessageId Message, Position Position)> ProbeAsync(TimeSpan patience)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            await PublishAsync(1);
            if (Told is [.., { } position] told) return (new(number, told.Length - 1), position);
            Assert.True(TimeProvider.System.GetElapsedTime(started) < patience, $"Nothing can be published for {patience}.");
        }
    }

    async Task OneAsync()
    {
        int index;
        lock (_told)
        {
            index = _told.Count;
            _told.Add(null);
        }

        Interlocked.Increment(ref _waiting);
        try
        {
            var result = await broadcaster.PublishAsync(Message.FromText(new MessageId(number, index).ToString()), Recipients.Group(group), TestContext.Current.CancellationToken);
            lock (_told) _told[index] = result.Position;
        }
        catch (BackplaneException)
        {
            // It may have taken effect, once.
        }
        finally
        {
            Interlocked.Decrement(ref _waiting);
        }
    }
}
