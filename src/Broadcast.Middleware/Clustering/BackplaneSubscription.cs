namespace Broadcast.Middleware;

/// <summary>The result of a subscription to a group: the start position and the history.</summary>
/// <param name="position">See <see cref="Position"/>.</param>
/// <param name="history">See <see cref="History"/>.</param>
public sealed class BackplaneSubscription(Position position, IReadOnlyList<ReadOnlyMemory<byte>> history)
{
    /// <summary>
    /// The node receives every message after this position. The offset is 0 if the group never had a message.
    /// </summary>
    public Position Position { get; } = position;

    /// <summary>The stored messages up to and including <see cref="Position"/>, oldest first, without gaps.</summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> History { get; } = history;
}
