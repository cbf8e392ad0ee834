using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Applies the <see cref="SlowConsumer"/> setting to a slow client. The setting of each group decides whether the
/// client skips messages or the server closes the connection. If a group has no setting, the setting of the client's
/// endpoint decides. <see cref="LogReader.TryCatchUp"/> makes this decision. <see cref="ConnectionWriter"/> aborts a
/// connection whose write makes no progress.
/// </summary>
static class SlowConsumerHandler
{
    // A reader is behind if its write took at least this time. The reader then skips messages that newer messages
    // replace.
    const int ConflationDelayInMilliseconds = 50;

    // The maximum size of a compacted block. Without compaction, the reader would also keep one block of this size in
    // memory.
    public const int MaxCompactedBytes = 64 * 1024;

    /// <summary>
    /// Moves a slow reader forward. If the reader cannot continue, this method closes the reader and the connection.
    /// The unsent messages then use no memory.
    /// </summary>
    /// <returns>True if the reader continues.</returns>
    public static bool TryCatchUp(LogReader reader, int maxBacklog, long lastSequence, Sink? sink, IWriterOwner owner)
    {
        if (reader.IsClosed) return false;
        var canContinue = reader.TryCatchUp(
            maxBacklog, lastSequence, MaxCompactedBytes, out var skipped, out var replaced);
        if (skipped + replaced > 0) owner.OnDropped(skipped + replaced);
        if (canContinue)
        {
            if (skipped > 0) sink!.OnSkipped(skipped);
            return true;
        }

        reader.Close();
        if (reader.IsLost) owner.OnMessagesLost();
        else owner.OnTooSlow();
        return false;
    }

    /// <summary>After a slow write, drops messages that newer messages replace.</summary>
    public static void OnWriteCompleted(LogReader reader, long milliseconds, long lastSequence, IWriterOwner owner)
    {
        if (milliseconds < ConflationDelayInMilliseconds) return;
        var dropped = reader.Conflate(lastSequence, MaxCompactedBytes);
        if (dropped > 0) owner.OnDropped(dropped);
    }
}
