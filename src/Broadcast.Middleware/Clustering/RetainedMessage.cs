namespace Broadcast.Middleware;

/// <summary>
/// The newest message of a key. The backplane retains this message: see <see cref="BackplaneSubscription.Retained"/>.
/// </summary>
/// <param name="offset">See <see cref="Offset"/>.</param>
/// <param name="message">See <see cref="Message"/>.</param>
public sealed class RetainedMessage(long offset, ReadOnlyMemory<byte> message)
{
    /// <summary>The offset of the message in its group.</summary>
    public long Offset { get; } = offset;

    /// <summary>The message.</summary>
    public ReadOnlyMemory<byte> Message { get; } = message;
}
