using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Logs;

public sealed class MessageLogTests
{
    const int Capacity = 10_000;

    readonly MessageLog _log = new(new SequenceClock(), new LogSettings(Capacity, SlowConsumer.Disconnect));

    [Fact]
    public void Log_New_HoldsNoBytes()
    {
        Assert.Equal(0, _log.End.Block.Capacity);
        Assert.Equal(1, _log.NextOffset);
        Assert.Equal(0, _log.NewestByte);
    }

    [Fact]
    public void Offsets_AcrossBlocks_CountFromOne()
    {
        for (var i = 1; i <= 1000; i++) Assert.Equal(i, Append(100));
        Assert.Equal(1001, _log.NextOffset);
    }

    [Fact]
    public void BlockSize_MoreTraffic_Grows()
    {
        Append(10);
        Assert.Equal(512, _log.End.Block.Capacity);
        for (var i = 0; i < 2000; i++) Append(100);
        Assert.Equal(64 * 1024, _log.End.Block.Capacity);
        Append(500_000);
        Assert.Equal(Frame.Size(500_000), _log.End.Block.Capacity);
        Append(10);
        Assert.Equal(64 * 1024, _log.End.Block.Capacity);
    }

    [Fact]
    public void Cursor_NewMessages_ReadsMessagesInOrder()
    {
        Append(5);
        var cursor = NewCursor();
        Assert.False(cursor.TryPeek(out _));
        for (var i = 0; i < 90; i++) Append(i);
        Assert.Equal(Enumerable.Range(0, 90), Read(cursor));
        Assert.False(cursor.TryPeek(out _));
        Append(7);
        Assert.Equal([7], Read(cursor));
    }

    [Fact]
    public void Cursor_BeyondCapacity_ReportsMissedMessages()
    {
        var cursor = NewCursor();
        Append(1000);
        for (var i = 0; i < 9; i++) Append(1000);
        Assert.Equal(10, Read(cursor).Length);

        var late = NewCursor();
        for (var i = 0; i < 200; i++) Append(1000);
        Assert.True(late.Behind > Capacity);
        while (late.TryPeek(out _)) Take(late);
        Assert.True(late.HasMissed);
    }

    [Fact]
    public void Behind_UnreadMessages_DoesNotCountNewestMessage()
    {
        var cursor = NewCursor();
        Append(9_000);
        Assert.Equal(0, cursor.Behind);
        Append(10);
        Assert.Equal(Frame.Size(9_000) + Block.EntrySize, cursor.Behind);
        Read(cursor);
        Assert.True(cursor.Behind <= 0);
    }

    [Fact]
    public void Append_MessageLargerThanCapacity_IsReadable()
    {
        var cursor = NewCursor();
        Append(5 * Capacity);
        Assert.Equal([5 * Capacity], Read(cursor));
        Assert.False(cursor.HasMissed);
    }

    [Fact]
    public void PassedBlocks_CursorHasReadAll_AreGarbageCollected()
    {
        var cursor = NewCursor();
        var passed = FirstBlock();
        for (var i = 0; i < 20; i++) Append(500);
        Read(cursor);
        Collect();
        Assert.False(passed.IsAlive);
        Assert.False(cursor.HasMissed);

        [MethodImpl(MethodImplOptions.NoInlining)]
        WeakReference FirstBlock()
        {
            Append(500);
            return new(_log.End.Block);
        }
    }

    [Fact]
    public void StalledCursor_ManyBlocksBehind_KeepsAtMostFourBlocks()
    {
        var late = NewCursor();
        var blocks = Blocks();
        Collect();
        Assert.True(blocks.Count(block => block.IsAlive) <= 4, $"{blocks.Count(block => block.IsAlive)} of {blocks.Length} blocks are kept");
        Assert.False(late.TryPeek(out _));
        Assert.True(late.HasMissed);

        [MethodImpl(MethodImplOptions.NoInlining)]
        WeakReference[] Blocks()
        {
            var seen = new List<WeakReference>();
            for (var i = 0; i < 2000; i++)
            {
                Append(1000);
                if (seen.Count == 0 || seen[^1].Target != _log.End.Block) seen.Add(new(_log.End.Block));
            }

            return [.. seen];
        }
    }

    [Fact]
    public void TrimIdle_IdleLog_FreesBlockAndContinuesOffsets()
    {
        var cursor = NewCursor();
        Append(10);
        Assert.False(_log.TrimIdle());
        Assert.True(_log.TrimIdle());
        Assert.Equal(0, _log.End.Block.Capacity);
        Assert.False(_log.TrimIdle());
        Assert.Equal(2, Append(20));
        Assert.False(_log.TrimIdle());
        Assert.Equal([10, 20], Read(cursor));
    }

    [Fact]
    public void TrimIdle_UnusedLog_FreesNothing()
    {
        Assert.False(_log.TrimIdle());
        Assert.False(_log.TrimIdle());
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void SkipToLatest_IdleLogDroppedUnreadMessages_FindsNewestMessage(bool isFiltered, bool preparesLate)
    {
        var cursor = NewCursor(isFiltered ? new(SubscriptionFilter.Parse("kind = a")) : null);
        if (!preparesLate) cursor.PrepareToSkip();
        for (var i = 0; i < 2000; i++) Append(1000);
        if (preparesLate) cursor.PrepareToSkip();
        var newest = new Message(new byte[10], MessageType.Binary) { Tags = MessageTags.Create(("kind", "a")) };
        _log.Append(newest, EntryMetadata.Create(newest, null));
        TrimTwice();
        // The filter rejects these messages. They are in a later block than the newest accepted message.
        for (var i = 0; isFiltered && i < 3; i++) Append(1000);
        TrimTwice();
        Collect();
        Assert.False(cursor.TryPeek(out _));
        Assert.True(cursor.HasMissed);
        cursor.SkipToLatest();
        Assert.Equal([10], Read(cursor));

        void TrimTwice()
        {
            _log.TrimIdle();
            _log.TrimIdle();
            Assert.Equal(0, _log.End.Block.Capacity);
        }
    }

    [Fact]
    public void LinkGap_LogHasTransientLog_KeepsNewestTransientMessage()
    {
        lock (_log.Gate) _log.OpenTransientLocked(members: 0, epoch: 1);
        var transient = _log.Transient!.Log;
        Cursor cursor;
        lock (_log.Gate) cursor = new Cursor(transient, new IdleSubscriber(), null);
        _log.LinkGap();
        for (var i = 0; i < 2000; i++) transient.Append(new(new byte[1000], MessageType.Binary), null);
        transient.TrimIdle();
        transient.TrimIdle();
        Collect();
        Assert.False(cursor.TryPeek(out _));
        cursor.SkipToLatest();
        Assert.Equal([1000], Read(cursor));
    }

    [Fact]
    public void TrimPrivateLog_OnlyReaderHasReadAllMessages_FreesLargeBlock()
    {
        var cursor = NewCursor();
        Append(10);
        Read(cursor);
        cursor.TrimPrivateLog();
        Assert.Equal(512, _log.End.Block.Capacity);
        Append(5000);
        cursor.TrimPrivateLog();
        Assert.NotEqual(0, _log.End.Block.Capacity);
        Read(cursor);
        cursor.TrimPrivateLog();
        Assert.Equal(0, _log.End.Block.Capacity);
        Append(1);
        Assert.Equal([1], Read(cursor));
    }

    [Fact]
    public void Cursor_AfterLeave_ReadsOnlyEarlierMessages()
    {
        var cursor = NewCursor();
        Append(1);
        Append(2);
        lock (_log.Gate) cursor.LeaveLocked();
        Append(3);
        Assert.False(cursor.HasLeft);
        Assert.Equal([1, 2], Read(cursor));
        Assert.True(cursor.HasLeft);
    }

    [Fact]
    public void Cursor_WithSequenceLimit_ReadsUpToTheLimit()
    {
        var cursor = NewCursor();
        for (var i = 0; i < 5; i++) Append(1);
        Assert.True(cursor.TryPeek(out var first));
        Assert.Equal(1, first);
        Assert.Equal(3 * Frame.Size(1), Take(cursor, 3).Frames.Length);
        Assert.True(cursor.TryPeek(out var next));
        Assert.Equal(4, next);
    }

    long Append(int size)
    {
        return _log.Append(new(new byte[size], MessageType.Binary), null);
    }

    Cursor NewCursor(CursorFilter? filter = null)
    {
        lock (_log.Gate) return new Cursor(_log, new IdleSubscriber(), null, new() { Filter = filter });
    }

    static EntryRun Take(Cursor cursor, long lastSequence = long.MaxValue)
    {
        return cursor.Take(lastSequence);
    }

    /// <summary>Returns the sizes of the available messages.</summary>
    static int[] Read(Cursor cursor)
    {
        var sizes = new List<int>();
        while (cursor.TryPeek(out _))
        {
            var run = Take(cursor).Frames;
            while (!run.IsEmpty) sizes.Add(Frame.Next(ref run, out _).Length);
        }

        return [.. sizes];
    }

    static void Collect()
    {
        for (var i = 0; i < 3; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
    }
}
