namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>Publishes messages without awaiting each publish, and records their positions.</summary>
sealed class Publisher(IBroadcaster broadcaster, int number, string group)
{
    /// <summary>The maximum number of publishes in flight.</summary>
    public const int Window = 64;

    // The position of each message. The position is null if the publish failed or is still in flight.
    readonly List<Position?> _positions = [];
    int _inFlight;

    public int Number => number;

    /// <summary>The number of publishes in flight.</summary>
    public int InFlight => Volatile.Read(ref _inFlight);

    public int FailedCount => Positions.Count(static position => position is null);

    /// <summary>The position of each message, in the order of publishing.</summary>
    public Position?[] Positions
    {
        get
        {
            lock (_positions) return [.. _positions];
        }
    }

    /// <param name="count">The number of messages.</param>
    /// <param name="onPublishing">Called before each publish.</param>
    public async Task PublishAsync(int count, Action? onPublishing = null)
    {
        var publishes = new Queue<Task>();
        for (var i = 0; i < count; i++)
        {
            if (publishes.Count == Window) await publishes.Dequeue();
            onPublishing?.Invoke();
            publishes.Enqueue(PublishNextAsync());
        }

        await Task.WhenAll(publishes);
    }

    /// <summary>Publishes messages until a publish succeeds. Returns the published message and its position.</summary>
    public async Task<(MessageId Message, Position Position)> PublishUntilSuccessAsync(TimeSpan timeout)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            await PublishAsync(1);
            if (Positions is [.., { } position] positions) return (new(number, positions.Length - 1), position);
            Assert.True(
                TimeProvider.System.GetElapsedTime(started) < timeout, $"No publish succeeded within {timeout}.");
        }
    }

    async Task PublishNextAsync()
    {
        int index;
        lock (_positions)
        {
            index = _positions.Count;
            _positions.Add(null);
        }

        Interlocked.Increment(ref _inFlight);
        try
        {
            var message = Message.FromText(new MessageId(number, index).ToString());
            var result = await broadcaster.PublishAsync(
                message, Recipients.Group(group), TestContext.Current.CancellationToken);
            lock (_positions) _positions[index] = result.Position;
        }
        catch (BackplaneException)
        {
            // The publish failed, but Redis may still have stored the message once.
        }
        finally
        {
            Interlocked.Decrement(ref _inFlight);
        }
    }
}
