using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>Who is given more history than may wait for a reader is not slow for that.</summary>
[Collection(PropertiesCollection.Name)]
public sealed class SlowReplayTests
{
    const int Backlog = 4_096;
    const int Size = 1_000;
    const int Cost = Size + 4 + Block.EntrySize;
    // The newest message does not count.
    const int MostThatWait = (Backlog / Cost) + 1;

    [Fact]
    public void A_history_larger_than_the_backlog_is_read_to_its_end_at_any_pace()
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
    public void Who_reads_the_history_may_fall_behind_as_far_as_any_other_and_no_further(bool replays)
    {
        using var stage = With(historyMessages: 200);
        foreach (var id in Act.Range(1, 200)) stage.Publish("/g", id, Size);
        var hearer = Joined(stage, replays ? Replay.Last(200) : Replay.None);
        var first = 201;
        if (!replays)
        {
            // It takes this one, and that write does not end.
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
    public void Who_has_read_the_history_is_slow_like_everybody_else()
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
    public void The_log_keeps_the_history_for_who_has_begun_to_read_it_and_the_backlog_too()
    {
        // The reader is never asked whether it is slow: its pump has no turn.
        using var stage = With(historyMessages: 10_000, historyBytes: 200 * Cost);
        foreach (var id in Act.Range(1, 300)) stage.Publish("/g", id, Size);
        var hearer = Joined(stage);
        foreach (var id in Act.Range(301, 300 + MostThatWait)) stage.Publish("/g", id, Size);
        ReadAll(stage, hearer);
        Assert.Null(hearer.Sink.Closed);
        Assert.Equal(Act.Range(101, 300 + MostThatWait), hearer.Got);
    }

    [Fact]
    public void The_log_has_room_for_the_largest_history_and_the_largest_backlog()
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
    public void Many_who_replay_and_read_nothing_hold_no_more_than_history_and_backlog_together(bool pumpHasTurns)
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
