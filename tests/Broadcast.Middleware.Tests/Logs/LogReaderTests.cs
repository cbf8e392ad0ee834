using System.Text;

namespace Broadcast.Middleware.Tests.Logs;

/// <summary>Tests a reader of several logs. The tests need no host, no connection and no service container.</summary>
public sealed class LogReaderTests
{
    readonly SequenceClock _clock = new();
    readonly IdleSubscriber _subscriber = new();
    readonly LogReader _reader;

    public LogReaderTests() => _reader = new(_clock);

    [Fact]
    public void Read_SeveralLogs_ReturnsMessagesInPublishOrder()
    {
        var (one, other) = (TestLog.Create(_clock, 1_024), TestLog.Create(_clock, 1_024));
        Append(one, "early");
        Add(one);
        Add(other);
        Append(one, "1");
        Append(other, "2");
        Append(other, "3");
        Append(one, "4");
        Assert.Equal(["1", "2", "3", "4"], ReadAll());
        Assert.Equal(4 + 1, _reader.NewestSequence);
        Append(other, "5");
        Assert.Equal(["5"], ReadAll());
    }

    [Fact]
    public void Read_AfterLeave_ReturnsOnlyEarlierMessages()
    {
        var log = TestLog.Create(_clock, 1_024);
        var cursor = Add(log);
        Append(log, "1");
        cursor.Leave(log);
        Append(log, "2");
        Assert.Equal(["1"], ReadAll());
        Assert.Empty(_reader.Cursors.ToArray());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Read_LeaveBeforeFirstTurn_ReturnsOpeningOnce(bool checksBacklog)
    {
        var log = TestLog.Create(_clock, 1_024);
        var cursor = Add(log, new() { Opening = "opening"u8.ToArray(), KeepsOpeningAfterLeave = true });
        cursor.Leave(log);
        Append(log, "1");
        if (checksBacklog) Assert.False(_reader.IsBehindBy(0));
        Assert.True(_reader.TryTake(long.MaxValue, out var run));
        Assert.Equal("opening"u8, run.Frames.Span);
        Assert.False(_reader.TryTake(long.MaxValue, out _));
        Assert.Empty(_reader.Cursors.ToArray());
    }

    [Fact]
    public void Read_LeaveBeforeFirstTurn_DropsOpeningOfMembership()
    {
        var log = TestLog.Create(_clock, 1_024);
        Add(log, new() { Opening = "joined"u8.ToArray() }).Leave(log);
        Assert.False(_reader.TryTake(long.MaxValue, out _));
        Assert.Empty(_reader.Cursors.ToArray());
    }

    [Fact]
    public void Read_UpToSequence_LeavesLaterMessages()
    {
        var log = TestLog.Create(_clock, 1_024);
        Add(log);
        Append(log, "1");
        var last = _reader.NewestSequence;
        Append(log, "2");
        Assert.Equal(["1"], ReadAll(last));
        Assert.Equal(["2"], ReadAll());
    }

    [Fact]
    public void Read_ExcludedSubscriber_SkipsMessage()
    {
        var log = TestLog.Create(_clock, 1_024);
        Add(log);
        log.Append(Message.FromText("1"), new EntryMetadata(new ExcludedConnections(_subscriber.Id)));
        Append(log, "2");
        Assert.Equal(["2"], ReadAll());
    }

    [Fact]
    public void Read_BeyondCapacity_ReportsMissedMessages()
    {
        var log = TestLog.Create(_clock, 1_024);
        Add(log);
        for (var i = 0; i < 100; i++) Append(log, new string('x', 100));
        ReadAll();
        Assert.Equal((true, false), (_reader.HasMissed, _reader.IsLost));
    }

    [Fact]
    public void Read_BrokenLog_ReturnsEarlierMessagesAndReportsLoss()
    {
        var log = TestLog.Create(_clock, 1_024);
        Add(log);
        Append(log, "1");
        log.Break();
        Assert.Equal(["1"], ReadAll());
        Assert.Equal((true, true), (_reader.HasMissed, _reader.IsLost));
    }

    /// <summary>
    /// A leave first marks the cursor, and then adds the cursor to the reader again. Between these two steps, the
    /// reader may already have removed the cursor.
    /// </summary>
    [Fact]
    public void Add_ReleasedCursor_AddsNothing()
    {
        var log = TestLog.Create(_clock, 1_024);
        Cursor cursor;
        lock (log.Gate) cursor = new Cursor(log, _subscriber, new IdleCursorSet());
        _reader.Add(cursor);
        Append(log, "1");
        Assert.Equal(["1"], ReadAll());
        cursor.Leave(log);
        Assert.Empty(ReadAll());
        Assert.Empty(_reader.Cursors.ToArray());

        _reader.Add(cursor);

        Assert.Empty(_reader.AdmitCursors().ToArray());
    }

    /// <summary>
    /// A message gets its number before readers can find the message. If the reader sent a higher number first, the
    /// client would receive this message without a number. The client could then not reconnect before its next
    /// acknowledgement.
    /// </summary>
    [Fact]
    public async Task Read_LowerNumberStillBeingAppended_WaitsForThatMessage()
    {
        using ManualResetEventSlim isAppending = new(), mayEnd = new();
        var timestamps = 0;
        var clock = new SequenceClock(() =>
        {
            // An append reads the sequence number from the clock before it reads the time.
            if (Interlocked.Increment(ref timestamps) > 1) return 0;
            isAppending.Set();
            mayEnd.Wait();
            return 0;
        });
        var acknowledgements = new Acknowledgements(maxBytes: 1_024, maxMessages: 10, maxLogs: 10);
        var reader = new LogReader(clock, acknowledgements);
        var (one, other) = (TestLog.Create(clock, 1_024), TestLog.Create(clock, 1_024));
        foreach (var log in new[] { one, other })
        {
            lock (log.Gate) reader.Add(new Cursor(log, _subscriber, null));
        }

        var appending = TestThread.Start(() => Append(one, "1"));
        isAppending.Wait(TestContext.Current.CancellationToken);
        Append(other, "2");
        List<string> received = [];
        var reading = new Thread(() => received = ReadAll(reader)) { IsBackground = true };
        reading.Start();
        // A correct reader waits for the first append. An incorrect reader returns before the first append completes.
        await Eventually.True(() => (reading.ThreadState & (ThreadState.WaitSleepJoin | ThreadState.Stopped)) != 0);
        mayEnd.Set();
        await appending;
        reading.Join();
        Assert.Equal(["1", "2"], received);
        Assert.Equal(2, acknowledgements.LastSent);
        Assert.True(acknowledgements.IsComplete);
    }

    Cursor Add(MessageLog log, CursorOptions? options = null)
    {
        lock (log.Gate)
        {
            var cursor = new Cursor(log, _subscriber, null, options);
            _reader.Add(cursor);
            return cursor;
        }
    }

    static void Append(MessageLog log, string text) => log.Append(Message.FromText(text), null);

    List<string> ReadAll(long lastSequence = long.MaxValue) => ReadAll(_reader, lastSequence);

    static List<string> ReadAll(LogReader reader, long lastSequence = long.MaxValue)
    {
        var texts = new List<string>();
        while (reader.TryTake(lastSequence, out var run))
        {
            for (var frames = run.Frames; !frames.IsEmpty;) texts.Add(Encoding.UTF8.GetString(Frame.Next(ref frames, out _).Span));
        }

        return texts;
    }
}
