namespace Broadcast.Middleware;

/// <summary>
/// The newest message of a key. The backplane retains this message: see <see cref="BackplaneSubscription.Retained"/>.
/// </summary>
/// <param name="offset">See <see cref="Offset"/>.</param>
/// <param name="message">See <see cref="Message"/>.</param>
public sealed class RetainedMessage(long offset, ReadOnlyMemory<byte> message) : IEquatable<RetainedMessage>
{
    /// <summary>The offset of the message in its group.</summary>
    public long Offset { get; } = offset;

    /// <summary>The message.</summary>
    public ReadOnlyMemory<byte> Message { get; } = message;

    /// <inheritdoc />
    public bool Equals(RetainedMessage? other) =>
        other is not null && Offset == other.Offset && Message.Span.SequenceEqual(other.Message.Span);

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as RetainedMessage);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Offset, Message.Length);

    /// <inheritdoc />
    public override string ToString() => $"{Offset}: {Message.Length} bytes";
}
