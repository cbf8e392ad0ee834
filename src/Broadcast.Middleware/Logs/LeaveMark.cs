using System.Diagnostics;

namespace Broadcast.Middleware.Logs;

/// <summary>
/// The end of a subscription to a group. The cursors in the main log and in the log of transient messages share one
/// mark. Before the leave, the offsets are <see cref="long.MaxValue"/>.
/// </summary>
sealed class LeaveMark
{
    (long Offset, long Byte) _main = (long.MaxValue, long.MaxValue);
    (long Offset, long Byte) _transient = (long.MaxValue, long.MaxValue);

    /// <summary>Creates the mark of a subscriber that has not left.</summary>
    public LeaveMark()
    {
    }

    /// <summary>Creates the mark of a subscriber that leaves now. The caller holds the lock of the log.</summary>
    public LeaveMark(MessageLog log) => SetLocked(log);

    /// <summary>Records that the subscriber leaves after the newest message.</summary>
    public void SetLocked(MessageLog log)
    {
        Debug.Assert(log.Gate.IsHeldByCurrentThread);
        Set(ref _main, log);
        if (log.Transient is { } transient) Set(ref _transient, transient.Log);
    }

    /// <summary>The first offset in the log that the subscriber no longer receives.</summary>
    public long OffsetIn(MessageLog log) =>
        Volatile.Read(ref log.IsTransient ? ref _transient.Offset : ref _main.Offset);

    /// <summary>The value of <see cref="MessageLog.NewestByte"/> when the subscriber left.</summary>
    public long ByteIn(MessageLog log) => Volatile.Read(ref log.IsTransient ? ref _transient.Byte : ref _main.Byte);

    static void Set(ref (long Offset, long Byte) mark, MessageLog log)
    {
        Volatile.Write(ref mark.Byte, log.NewestByte);
        Volatile.Write(ref mark.Offset, log.NextOffset);
    }
}
