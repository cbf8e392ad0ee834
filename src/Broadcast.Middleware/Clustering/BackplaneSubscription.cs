namespace Broadcast.Middleware;

/// <summary>The start of a subscription to a group.</summary>
/// <param name="position">See <see cref="Position"/>.</param>
/// <param name="history">See <see cref="History"/>.</param>
public sealed class BackplaneSubscription(Position position, IReadOnlyList<ReadOnlyMemory<byte>> history)
{
    /// <summary>
    /// The node receives every message after this position. The offset is 0 if the group has had no message.
    /// </summary>
    public Position Position { get; } = position;

    /// <summary>
    /// The messages up to <see cref="Position"/> that the backplane has kept, oldest first, without gaps.
    /// </summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> History { get; } = history;
}
