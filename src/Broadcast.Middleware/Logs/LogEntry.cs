namespace Broadcast.Middleware.Logs;

/// <summary>One entry of a log. The object keeps the block of the entry in memory.</summary>
/// <param name="block">The block.</param>
/// <param name="index">The index of the entry in the block.</param>
sealed class LogEntry(Block block, int index)
{
    public long Offset => block.OffsetOf(index);

    /// <summary>The publish time: see <see cref="SequenceClock.Timestamp"/>. 0 if the log stores no times.</summary>
    public long PublishedAt => block[index].PublishedAt;

    /// <summary>See <see cref="Message.Key"/>.</summary>
    public string? Key => block.KeyOf(index);

    /// <summary>Returns the payload. The memory belongs to the block.</summary>
    public ReadOnlyMemory<byte> GetPayload(out MessageType type) => block.PayloadOf(index, out type);
}
