namespace Broadcast.Middleware.Tests.Logs;

/// <summary>Tests rare states of the messages that a log keeps for a resend. Random schedules seldom reach these states.</summary>
public sealed class RetentionTests
{
    const int Backlog = 1_024;

    [Fact]
    public void EmptyBlock_SuccessorPinnedFirst_StaysLinkedToSuccessor()
    {
        var log = new MessageLog(new SequenceClock(), new LogSettings(Backlog, SlowConsumer.Disconnect, MaxRetained: 1 << 20));
        lock (log.Gate)
        {
            var empty = log.End.Block;
            log.Append(ReliableReceiver.Numbered(1), null);
            var later = log.Pin(log.End.Block);
            var first = log.Pin(empty);
            for (var i = 0; i < 50; i++) log.Append(ReliableReceiver.Numbered(i, 200), null);
            Assert.False(empty.Next!.IsGap);
            log.Unpin(first);
            log.Unpin(later);
        }
    }

    [Fact]
    public void Bookmark_BlockIsDropped_StaysEmpty()
    {
        var log = new MessageLog(new SequenceClock(), new LogSettings(Backlog, SlowConsumer.Disconnect, MaxRetained: 2_000));
        lock (log.Gate)
        {
            var bookmark = new Bookmark(log);
            bookmark.SetLocked(log.End.Block, log.End.Index);
            var cursor = new Cursor(log, new IdleSubscriber(), null, new CursorOptions { Bookmark = bookmark });
            for (var i = 0; i < 50; i++) log.AppendLocked(ReliableReceiver.Numbered(i, 200), null);
            Assert.True(bookmark.IsLost);
            bookmark.Advance(cursor, long.MaxValue);
            Assert.Null(bookmark.Block);
            bookmark.Clear();
        }
    }

    [Fact]
    public void TrySetBookmark_LaterMessagesAreDropped_ReturnsFalse()
    {
        var log = TestLog.Create(new SequenceClock(), Backlog);
        lock (log.Gate)
        {
            var cursor = new Cursor(log, null!, null, new CursorOptions { Bookmark = new(log) });
            for (var i = 0; i < 50; i++) log.AppendLocked(ReliableReceiver.Numbered(i, 200), null);
            Assert.False(cursor.TrySetBookmark());
        }
    }
}
