namespace Broadcast.Middleware;

/// <summary>
/// The result of a subscription to a group: the start position, the history and the retained values.
/// </summary>
/// <param name="position">See <see cref="Position"/>.</param>
/// <param name="history">See <see cref="History"/>.</param>
public sealed class BackplaneSubscription(Position position, IReadOnlyList<ReadOnlyMemory<byte>> history)
    : IEquatable<BackplaneSubscription>
{
    /// <summary>
    /// The start position of the subscription. The node receives every message after this position. The offset is 0 if
    /// the group never had a message.
    /// </summary>
    public Position Position { get; } = position;

    /// <summary>The stored messages up to and including <see cref="Position"/>, oldest first, without gaps.</summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> History { get; } = history;

    /// <summary>
    /// The newest message of each key up to and including <see cref="Position"/>, oldest first. The list may contain
    /// messages of <see cref="History"/>. Default: empty. The backplane must read this list and the position in one
    /// atomic step.
    /// </summary>
    public IReadOnlyList<RetainedMessage> Retained { get; init; } = [];

    /// <inheritdoc />
    public bool Equals(BackplaneSubscription? other) => other is not null && Position == other.Position
        && History.Count == other.History.Count
        && History.Zip(other.History).All(static pair => pair.First.Span.SequenceEqual(pair.Second.Span))
        && Retained.SequenceEqual(other.Retained);

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as BackplaneSubscription);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Position, History.Count, Retained.Count);

    /// <inheritdoc />
    public override string ToString() =>
        $"{Position}, {History.Count} messages in the history, {Retained.Count} retained messages";
}
