using System.Diagnostics;

namespace Broadcast.Middleware.Logs;

/// <summary>
/// The log of the transient messages of a group: see <see cref="Message.IsTransient"/>. The log has no history, and its
/// messages have no position. The group creates the log for its first transient message.
/// </summary>
/// <remarks>
/// The main log and this log share one lock, and their messages share one sequence. So a reader of both logs receives
/// all messages in the order in which they were published. A member that joined before the log existed opens its cursor
/// at its next turn. This class keeps the first block until every such member has opened its cursor.
/// </remarks>
sealed class TransientLog
{
    (Block Block, int Index)? _first;
    int _waitingMembers;

    /// <param name="log">The new log.</param>
    /// <param name="members">The number of members that must open a cursor.</param>
    public TransientLog(MessageLog log, int members)
    {
        Log = log;
        _waitingMembers = members;
        if (members > 0) _first = log.End;
    }

    public MessageLog Log { get; }

    /// <summary>True while the log keeps its first block for members without a cursor.</summary>
    public bool KeepsFirstBlock => _first is not null;

    /// <summary>
    /// Returns the first entry for a member that joined before this log existed. Call this method once for each such
    /// member. The caller holds the lock of the log.
    /// </summary>
    public (Block Block, int Index) TakeStartLocked()
    {
        Debug.Assert(Log.Gate.IsHeldByCurrentThread && _waitingMembers > 0);
        var start = _first!.Value;
        if (--_waitingMembers == 0) _first = null;
        return start;
    }
}
