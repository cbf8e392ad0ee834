using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>A large replay alone does not make a connection slow.</summary>
[Collection(PropertiesCollection.Name)]
public sealed class SlowReplayTests
{
    const int Backlog = 4_096;
    const int Size = 1_000;
    const int Cost = Size + 4 + Block.EntrySize;
    // The newest message does not count towards the backlog.
    const int MostThatWait = (Backlog / Cost) + 1;

    [Fact]
    public void Replay_LargerThanBacklog_IsReadToTheEnd()
    {
        using var stage = With(historyMessages: 200);
        foreach (var id in Act.Range(1, 200)) stage.Publish("/g", id, Size);
        var hearer = Joined(stage);
        foreach (var id in Act.Range(201, 200 + MostThatWait))
        {
            stage.Publish("/g", id, Size);
            stage.RunUntilIdle();
        }

        ReadAll(stage, hearer);
        Assert.Null(hearer.Sink.Closed);
        Assert.Equal(Act.Range(1, 200 + MostThatWait), hearer.Got);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Backlog_DuringReplay_HasTheUsualLimit(bool replays)
    {
        using var stage = With(historyMessages: 200);
        foreach (var id in Act.Range(1, 200)) stage.Publish("/g", id, Size);
        var hearer = Joined(stage, replays ? Replay.Last(200) : Replay.None);
        var first = 201;
        if (!replays)
        {
            // The connection takes this message, and the write stays pending.
            stage.Publish("/g", first++, Size);
            stage.RunUntilIdle();
        }

        foreach (var id in Act.Range(first, first + MostThatWait - 1))
        {
            stage.Publish("/g", id, Size);
            stage.RunUntilIdle();
            Assert.Null(hearer.Connection.Writer.ClosingStatus);
        }

        stage.Publish("/g", 1_000, Size);
        stage.RunUntilIdle();
        Assert.Equal(CloseStatus.TryAgainLater, hearer.Connection.Writer.ClosingStatus);
        hearer.Sink.CompleteWrite();
        stage.RunUntilIdle();
        Assert.Equal(CloseStatus.TryAgainLater, hearer.Sink.Closed);
    }

    [Fact]
    public void Backlog_AfterReplay_HasTheUsualLimit()
    {
        using var stage = With(historyMessages: 200);
        foreach (var id in Act.Range(1, 200)) stage.Publish("/g", id, Size);
        var hearer = Joined(stage);
        ReadAll(stage, hearer);
        foreach (var id in Act.Range(201, 201 + MostThatWait)) Run(id);
        Assert.Null(hearer.Connection.Writer.ClosingStatus);
        Run(1_000);
        Assert.Equal(CloseStatus.TryAgainLater, hearer.Connection.Writer.ClosingStatus);

        void Run(int id)
        {
            stage.Publish("/g", id, Size);
            stage.RunUntilIdle();
        }
    }

    [Fact]
    public void Log_WithReplayingReader_KeepsHistoryAndBacklog()
    {
        // The pump has no turn, so it never checks whether the reader is slow.
        using var stage = With(historyMessages: 10_000, historyBytes: 200 * Cost);
        foreach (var id in Act.Range(1, 300)) stage.Publish("/g", id, Size);
        var hearer = Joined(stage);
        foreach (var id in Act.Range(301, 300 + MostThatWait)) stage.Publish("/g", id, Size);
        ReadAll(stage, hearer);
        Assert.Null(hearer.Sink.Closed);
        Assert.Equal(Act.Range(101, 300 + MostThatWait), hearer.Got);
    }

    [Fact]
    public void LogCapacity_LargestHistoryAndBacklog_DoesNotOverflow()
    {
        const int Most = 1 << 30;
        var options = new BroadcastOptions { MaxBacklogBytes = Most, Groups = { ["/g"] = new() { HistoryMessages = 1, HistoryBytes = Most } } };
        Assert.Equal(2L * Most, new GroupRules(options).For("/g").Capacity);
        options.Groups["/g"].SlowConsumer = SlowConsumer.Conflate;
        Assert.Equal(3L * Most, new GroupRules(options).For("/g").Capacity);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Replay_ByManyStalledReaders_HoldsAtMostHistoryAndBacklog(bool pumpHasTurns)
    {
        const int HistoryBytes = 1 << 20, Slack = 2 << 20;
        using var stage = new Stage(maxBacklog: 64 * 1024, configure: Act.History("/g", 100_000, HistoryBytes));
        Publish(2 << 20);
        var hearers = Enumerable.Range(0, 100).Select(_ => new Hearer(stage) { Sink = { Mode = WriteMode.Later } }).ToArray();
        foreach (var hearer in hearers) hearer.Join("/g", Replay.Last(100_000));
        var before = GC.GetTotalMemory(forceFullCollection: true);
        Publish(32 << 20);
        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, HistoryBytes + (64 * 1024) + Slack);
        stage.RunUntilIdle();
        foreach (var hearer in hearers)
        {
            hearer.Sink.CompleteWrite();
            stage.RunUntilIdle();
            Assert.Equal(CloseStatus.TryAgainLater, hearer.Sink.Closed);
            hearer.AssertSound();
        }

        void Publish(int bytes)
        {
            for (var id = 0; id < bytes / Cost; id++)
            {
                stage.Publish("/g", id, Size);
                if (pumpHasTurns) stage.RunUntilIdle();
            }
        }
    }

    static Stage With(int historyMessages, int historyBytes = 1 << 20) => new(maxBacklog: Backlog, configure: Act.History("/g", historyMessages, historyBytes));

    static Hearer Joined(Stage stage, Replay? replay = null)
    {
        var hearer = new Hearer(stage) { Sink = { Mode = WriteMode.Later } };
        Assert.True(hearer.Join("/g", replay ?? Replay.Last(10_000)).Joined);
        return hearer;
    }

    static void ReadAll(Stage stage, Hearer hearer)
    {
        stage.RunUntilIdle();
        while (hearer.Sink.IsWriting)
        {
            hearer.Sink.CompleteWrite();
            stage.RunUntilIdle();
        }

        hearer.AssertSound();
    }
}
