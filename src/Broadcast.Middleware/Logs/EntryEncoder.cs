using System.Buffers;

namespace Broadcast.Middleware.Logs;

/// <summary>Encodes log entries for readers that do not use the WebSocket frames of the log.</summary>
abstract class EntryEncoder
{
    /// <summary>True if the encoded entry contains its position in the group.</summary>
    public virtual bool IncludesPosition => false;

    /// <summary>The encoder for entries that must not contain a sequence number.</summary>
    public virtual EntryEncoder Unsequenced => this;

    /// <summary>
    /// The maximum number of log bytes to encode for one run. Entries that the block has already encoded do not count.
    /// A run may exceed the limit by one entry. The default means no limit.
    /// </summary>
    public virtual int MaxNewBytes => int.MaxValue;

    /// <summary>Returns the bytes before the first entry of a log. Empty by default.</summary>
    /// <param name="position">The reader receives every message after this position.</param>
    /// <param name="recovered">See <see cref="JoinResult.Recovered"/>.</param>
    /// <param name="newestOffset">The offset of the newest message. Messages up to this offset are history.</param>
    public virtual ReadOnlyMemory<byte> EncodeStart(Position position, bool? recovered, long newestOffset) => default;

    /// <summary>Encodes a position without a message. Returns empty memory if the format has no positions.</summary>
    public virtual ReadOnlyMemory<byte> EncodePosition(Position position) => default;

    /// <summary>Writes one entry of a block.</summary>
    public abstract void Write(IBufferWriter<byte> output, MessageLog log, Block block, int index);
}
