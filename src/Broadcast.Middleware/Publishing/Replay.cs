namespace Broadcast.Middleware;

/// <summary>What of a group's history a connection is given when it joins.</summary>
/// <remarks>The default value leaves it to the group: <see cref="GroupOptions.ReplayOnJoin"/>.</remarks>
public readonly record struct Replay
{
    readonly int? _messages;

    Replay(int? messages, Position? position) => (_messages, AfterPosition) = (messages, position);

    /// <summary>Nothing: only what is published from now on.</summary>
    public static Replay None => new(0, null);

    /// <summary>The newest messages, as far as they are kept.</summary>
    /// <param name="messages">How many at most; 0 and up.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is negative.</exception>
    public static Replay Last(int messages)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(messages);
        return new(messages, null);
    }

    /// <summary>
    /// Everything after a position, exactly; or, if any of it is no longer known, what a new member is given, and
    /// <see cref="JoinResult.Recovered"/> is false.
    /// </summary>
    /// <param name="position">The last message the client has.</param>
    public static Replay After(Position position) => new(null, position);

    internal Position? AfterPosition { get; }

    internal int MessagesOr(int ofGroup) => _messages ?? ofGroup;
}
