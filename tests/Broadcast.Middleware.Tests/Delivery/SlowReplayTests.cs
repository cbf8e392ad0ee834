
namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests that a large replay alone does not make a connection slow.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class SlowReplayTests
{
    const int Backlog = 4_096;
    const int Size = 1_000;
    const int Cost = Size + 4 + Block.EntrySize;
    // The newest message does not count toward the backlog.
    const int MaxWaitingMessages = (Backlog / Cost) + 1;

    [Fact]
    public void Replay_LargerThanBacklog_IsReadToTheEnd()
    {
        using var broadcast = With(historyMessages: 200);
        foreach (var id in RecoveryHelpers.Range(1, 200)) broadcast.Publish("/g", id, Size);
        var listener = Joined(broadcast);
        foreach (var id in RecoveryHelpers.Range(201, 200 + MaxWaitingMessages))
        {
            broadcast.Publish("/g", id, Size);
            broadcast.RunUntilIdle();
        }

        ReadAll(broadcast, listener);
        Assert.Null(listener.Sink.Closed);
        Assert.Equal(RecoveryHelpers.Range(1, 200 + MaxWaitingMessages), listener.Got);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Backlog_WithAndWithoutReplay_HasTheSameLimit(bool replays)
    {
        using var broadcast = With(historyMessages: 200);
        foreach (var id in RecoveryHelpers.Range(1, 200)) broadcast.Publish("/g", id, Size);
        var listener = Joined(broadcast, replays ? Replay.Last(200) : Replay.None);
        var first = 201;
        if (!replays)
        {
            // The connection starts to write this message, and the write stays pending.
            broadcast.Publish("/g", first++, Size);
            broadcast.RunUntilIdle();
        }

        foreach (var id in RecoveryHelpers.Range(first, first + MaxWaitingMessages - 1))
        {
            broadcast.Publish("/g", id, Size);
            broadcast.RunUntilIdle();
            Assert.Null(listener.Connection.Writer.ClosingStatus);
        }

        broadcast.Publish("/g", 1_000, Size);
        broadcast.RunUntilIdle();
        Assert.Equal(CloseStatus.TryAgainLater, listener.Connection.Writer.ClosingStatus);
        listener.Sink.CompleteWrite();
        broadcast.RunUntilIdle();
        Assert.Equal(CloseStatus.TryAgainLater, listener.Sink.Closed);
    }

    [Fact]
    public void Backlog_AfterReplayIsSent_HasTheConfiguredLimit()
    {
        using var broadcast = With(historyMessages: 200);
        foreach (var id in RecoveryHelpers.Range(1, 200)) broadcast.Publish("/g", id, Size);
        var listener = Joined(broadcast);
        ReadAll(broadcast, listener);
        foreach (var id in RecoveryHelpers.Range(201, 201 + MaxWaitingMessages)) Run(id);
        Assert.Null(listener.Connection.Writer.ClosingStatus);
        Run(1_000);
        Assert.Equal(CloseStatus.TryAgainLater, listener.Connection.Writer.ClosingStatus);

        void Run(int id)
        {
            broadcast.Publish("/g", id, Size);
            broadcast.RunUntilIdle();
        }
    }

    [Fact]
    public void Log_WithReplayingReader_KeepsHistoryAndBacklog()
    {
        // The pump does not run, so it never checks whether the reader is slow.
        using var broadcast = With(historyMessages: 10_000, historyBytes: 200 * Cost);
        foreach (var id in RecoveryHelpers.Range(1, 300)) broadcast.Publish("/g", id, Size);
        var listener = Joined(broadcast);
        foreach (var id in RecoveryHelpers.Range(301, 300 + MaxWaitingMessages)) broadcast.Publish("/g", id, Size);
        ReadAll(broadcast, listener);
        Assert.Null(listener.Sink.Closed);
        Assert.Equal(RecoveryHelpers.Range(101, 300 + MaxWaitingMessages), listener.Got);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Log_WithReaderOfFreshOrSharedSnapshot_KeepsFullBacklog(bool isShared)
    {
        const int Keys = 64, LargeSize = 16 * 1024, LargeBacklog = 128 * 1024;
        // The snapshot has 1 MiB. So the group can publish 7 messages of LargeSize before a new member needs a new
        // snapshot.
        const int Later = 7, MaxWaiting = (LargeBacklog / (LargeSize + 4 + Block.EntrySize)) + 1;
        using var broadcast = new TestEngine(
            maxBacklog: LargeBacklog, configure: options => options.Groups["/g"] = new() { RetainLatestPerKey = true, MaxRetainedBytes = 2 << 20 });
        Publish(1, Keys);
        // The pump does not run before the second join, so the first member keeps its snapshot in memory.
        var first = isShared ? Joined(broadcast) : null;
        Publish(Keys + 1, Keys + Later);
        var listener = Joined(broadcast);
        broadcast.RunUntilIdle();
        for (var i = 1; i <= MaxWaiting; i++)
        {
            Publish(Keys + Later + i, Keys + Later + i);
            broadcast.RunUntilIdle();
            Assert.Null(listener.Connection.Writer.ClosingStatus);
        }

        ReadAll(broadcast, listener);
        Assert.Null(listener.Sink.Closed);
        Assert.Equal(RecoveryHelpers.Range(isShared ? 1 : Later + 1, Keys + Later + MaxWaiting), listener.Got);
        first?.AssertNoViolation();

        void Publish(int from, int to)
        {
            foreach (var id in RecoveryHelpers.Range(from, to))
                broadcast.Publish(new Message(Payload.Make(id, LargeSize), MessageType.Binary) { Key = $"{id % Keys}" }, Recipients.Group("/g"));
        }
    }

    [Fact]
    public void LogCapacity_LargestHistoryAndBacklog_DoesNotOverflow()
    {
        const int Max = 1 << 30;
        var options = new BroadcastOptions { MaxBacklogBytes = Max, Groups = { ["/g"] = new() { HistoryMessages = 1, HistoryBytes = Max } } };
        Assert.Equal(2L * Max, new GroupRules(options).Find("/g").Capacity);
        options.Groups["/g"].SlowConsumer = SlowConsumer.Conflate;
        Assert.Equal(3L * Max, new GroupRules(options).Find("/g").Capacity);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ReplayMemory_ManyStalledReaders_IsAtMostHistoryAndBacklog(bool pumpHasTurns)
    {
        const int HistoryBytes = 1 << 20, Slack = 2 << 20;
        using var broadcast = new TestEngine(maxBacklog: 64 * 1024, configure: RecoveryHelpers.History("/g", 100_000, HistoryBytes));
        Publish(2 << 20);
        var listeners = Enumerable.Range(0, 100).Select(_ => new Listener(broadcast) { Sink = { Mode = WriteMode.Later } }).ToArray();
        foreach (var listener in listeners) listener.Join("/g", Replay.Last(100_000));
        var before = GC.GetTotalMemory(forceFullCollection: true);
        Publish(32 << 20);
        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, HistoryBytes + (64 * 1024) + Slack);
        broadcast.RunUntilIdle();
        foreach (var listener in listeners)
        {
            listener.Sink.CompleteWrite();
            broadcast.RunUntilIdle();
            Assert.Equal(CloseStatus.TryAgainLater, listener.Sink.Closed);
            listener.AssertNoViolation();
        }

        void Publish(int bytes)
        {
            for (var id = 0; id < bytes / Cost; id++)
            {
                broadcast.Publish("/g", id, Size);
                if (pumpHasTurns) broadcast.RunUntilIdle();
            }
        }
    }

    static TestEngine With(int historyMessages, int historyBytes = 1 << 20) => new(maxBacklog: Backlog, configure: RecoveryHelpers.History("/g", historyMessages, historyBytes));

    static Listener Joined(TestEngine broadcast, Replay? replay = null)
    {
        var listener = new Listener(broadcast) { Sink = { Mode = WriteMode.Later } };
        Assert.True(listener.Join("/g", replay ?? Replay.Last(10_000)).Joined);
        return listener;
    }

    static void ReadAll(TestEngine broadcast, Listener listener)
    {
        broadcast.RunUntilIdle();
        while (listener.Sink.IsWriting)
        {
            listener.Sink.CompleteWrite();
            broadcast.RunUntilIdle();
        }

        listener.AssertNoViolation();
    }
}
