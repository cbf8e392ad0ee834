namespace Broadcast.Middleware;

/// <summary>An item of <see cref="IBroadcaster.ReadAsync"/>: a message of the group, or a gap.</summary>
/// <param name="message">The message.</param>
/// <param name="position">See <see cref="Position"/>.</param>
public readonly struct ReceivedMessage(Message message, Position? position) : IEquatable<ReceivedMessage>
{
    /// <summary>
    /// The message. The payload is a copy, so you can keep it. For a gap, the message is empty.
    /// <see cref="Message.Id"/> is always null, and <see cref="Message.RemoveKey"/> is always false.
    /// </summary>
    public Message Message { get; } = message;

    /// <summary>
    /// The position of the message. To continue after this message later, pass the position to
    /// <see cref="Replay.After"/>. For a gap after a failed recovery, the value is the position at which the reader
    /// continues. Null for a transient message and for other gaps.
    /// </summary>
    public Position? Position { get; } = position;

    /// <summary>
    /// True if the item is a gap: the reader has missed messages. The item then contains no message. A reader receives
    /// gaps only if <see cref="ReadOptions.SlowConsumer"/> is <see cref="SlowConsumer.SkipToLatest"/> or
    /// <see cref="SlowConsumer.Conflate"/>.
    /// </summary>
    public bool IsGap { get; private init; }

    /// <summary>
    /// The number of messages that the reader has missed. Null if the number is unknown, or if the item is not a gap.
    /// </summary>
    public long? MissedMessages { get; private init; }

    /// <summary>Creates an item that reports missed messages.</summary>
    /// <param name="missedMessages">See <see cref="MissedMessages"/>.</param>
    /// <param name="position">See <see cref="Position"/>.</param>
    public static ReceivedMessage CreateGap(long? missedMessages, Position? position = null) =>
        new(default, position) { IsGap = true, MissedMessages = missedMessages };

    /// <summary>Decodes the payload as UTF-8 text: see <see cref="Message.ToString"/>.</summary>
    public override string ToString() =>
        IsGap ? $"{MissedMessages?.ToString() ?? "unknown"} missed messages" : Message.ToString();

    /// <inheritdoc />
    public bool Equals(ReceivedMessage other) => Message == other.Message && Position == other.Position
        && IsGap == other.IsGap && MissedMessages == other.MissedMessages;

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is ReceivedMessage other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Message, Position, IsGap, MissedMessages);

    /// <summary>True if both items have the same message and position, or report the same gap.</summary>
    public static bool operator ==(ReceivedMessage left, ReceivedMessage right) => left.Equals(right);

    /// <summary>True if the messages, the positions or the gaps differ.</summary>
    public static bool operator !=(ReceivedMessage left, ReceivedMessage right) => !left.Equals(right);
}
