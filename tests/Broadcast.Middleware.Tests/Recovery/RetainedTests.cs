using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>What a log keeps for clients that may have to be sent it again, where chance seldom leads.</summary>
public sealed class RetainedTests
{
    const int Backlog = 1_024;

    /// <summary>The block on which those wait who have everything has no messages, and ends where it begins.</summary>
    [Fact]
    public void A_burst_after_a_rest_is_kept()
    {
        using var stage = Small();
        var (connection, client, _) = Connect(stage);
        Rest(stage);
        PublishEach(stage, 1, 20);
        Lose(stage, connection);
        Assert.True(Resume(stage, connection, client));
        Assert.Equal(Act.Range(1, 20), client.Got);
        Assert.Null(connection.Writer.ClosingStatus);
    }

    /// <summary>It stands at the end of a block, and its bookmark on the next one.</summary>
    [Fact]
    public void A_burst_after_a_rest_is_kept_for_one_without_a_line()
    {
        using var stage = Small();
        var (connection, client, _) = Connect(stage);
        Publish(stage, 1);
        stage.RunUntilIdle();
        connection.Writer.OnAcknowledged(client.LastId);
        stage.RunUntilIdle();
        Lose(stage, connection);
        Rest(stage);
        for (var i = 2; i <= 20; i++) Publish(stage, i);
        stage.RunUntilIdle();
        Assert.True(Resume(stage, connection, client));
        Assert.Equal(Act.Range(1, 20), client.Got);
        Assert.Null(connection.Writer.ClosingStatus);
    }

    [Fact]
    public void What_was_acknowledged_is_not_kept()
    {
        using var stage = Small();
        var (connection, client, _) = Connect(stage);
        for (var i = 1; i <= 400; i++)
        {
            Publish(stage, i, size: 500);
            stage.RunUntilIdle();
        }

        Assert.InRange(Retained(stage), 400 * 500, 500 * 1_000);
        connection.Writer.OnAcknowledged(client.LastId);
        stage.RunUntilIdle();
        Assert.InRange(Retained(stage), 0, 80_000);
    }

    [Fact]
    public void What_one_client_alone_does_not_acknowledge_is_given_up_at_its_limit_and_another_keeps_its_own()
    {
        using var stage = Small(unacknowledged: 20_000);
        var (silent, silentClient, _) = Connect(stage);
        var (good, goodClient, _) = Connect(stage);
        for (var i = 1; i <= 1_000; i++)
        {
            Publish(stage, i);
            stage.RunUntilIdle();
            if (i < 995) good.Writer.OnAcknowledged(goodClient.LastId);
            stage.RunUntilIdle();
        }

        Assert.InRange(Retained(stage), 0, 150_000);
        Lose(stage, silent);
        Lose(stage, good);
        Assert.False(Resume(stage, silent, silentClient));
        Assert.True(Resume(stage, good, goodClient));
        Assert.Equal(Act.Range(1, 1_000), goodClient.Got);
        Assert.Equal(Act.Range(1, 1_000), silentClient.Got);
    }

    [Fact]
    public void Who_was_sent_too_much_can_come_back_when_it_has_acknowledged_all_that()
    {
        using var stage = Small(unacknowledged: 20_000);
        var (connection, client, _) = Connect(stage);
        PublishEach(stage, 1, 200);
        connection.Writer.OnAcknowledged(client.LastId);
        stage.RunUntilIdle();
        PublishEach(stage, 201, 201);
        Lose(stage, connection);
        Assert.True(Resume(stage, connection, client));
        Assert.Equal(Act.Range(1, 201), client.Got);
    }

    [Fact]
    public void Who_has_acknowledged_less_than_it_was_sent_when_too_much_was_given_up_cannot_come_back()
    {
        using var stage = Small(unacknowledged: 20_000);
        var (connection, client, _) = Connect(stage);
        PublishEach(stage, 1, 200);
        connection.Writer.OnAcknowledged(client.LastId - 1);
        stage.RunUntilIdle();
        Lose(stage, connection);
        Assert.False(Resume(stage, connection, client));
    }

    /// <summary>It has the messages from the line before, says so at once, and loses the new line before they have been sent again.</summary>
    [Fact]
    public void What_turns_out_to_have_arrived_is_not_sent_again()
    {
        using var stage = Small();
        var (connection, client, _) = Connect(stage);
        for (var i = 1; i <= 5; i++) Publish(stage, i);
        stage.RunUntilIdle();
        Lose(stage, connection);
        connection.Writer.OnAcknowledged(client.LastId);
        Assert.True(Resume(stage, connection, client));
        Lose(stage, connection);
        Publish(stage, 6);
        Assert.True(Resume(stage, connection, client));
        Assert.Equal(Act.Range(1, 6), client.Got);
        Assert.Equal(0, client.Dropped);
        Assert.Empty(client.WithoutId);
    }

    [Fact]
    public void A_history_that_was_not_sent_before_the_line_was_lost_comes_without_ids()
    {
        using var stage = Small(configure: Act.History("/h", replayOnJoin: 10));
        foreach (var id in Act.Range(1, 3)) stage.Broadcaster.Publish(ReliableClient.Numbered(id), Recipients.Group("/h"));
        var (connection, client, _) = Connect(stage);
        Publish(stage, 4);
        stage.RunUntilIdle();
        var suspended = connection.Writer.SuspendAsync();
        connection.Join("/h");
        stage.RunUntilIdle();
        Assert.True(suspended.IsCompleted);
        _ = connection.Session!.WaitAsync();
        Assert.True(Resume(stage, connection, client));
        Assert.Equal([1, 2, 3, 4], client.Got.Order());
        Assert.Equal([1, 2, 3], client.WithoutId);
    }

    [Fact]
    public void A_block_without_messages_is_held_though_its_successor_is_pinned_first()
    {
        var log = new MessageLog(new SequenceClock(), new LogSettings(Backlog, SlowConsumer.Disconnect, MaxRetained: 1 << 20));
        lock (log.Gate)
        {
            var empty = log.End.Block;
            log.Append(ReliableClient.Numbered(1), null);
            var later = log.Pin(log.End.Block);
            var first = log.Pin(empty);
            for (var i = 0; i < 50; i++) log.Append(ReliableClient.Numbered(i, 200), null);
            Assert.NotSame(Block.Cut, empty.Next);
            log.Unpin(first);
            log.Unpin(later);
        }
    }

    [Fact]
    public void What_has_been_given_up_does_not_seem_kept_again()
    {
        var log = new MessageLog(new SequenceClock(), new LogSettings(Backlog, SlowConsumer.Disconnect, MaxRetained: 2_000));
        lock (log.Gate)
        {
            var bookmark = new Bookmark(log, log.End.Block, log.End.Index);
            for (var i = 0; i < 50; i++) log.Append(ReliableClient.Numbered(i, 200), null);
            Assert.Null(bookmark.Block);
            bookmark.MoveTo(log.End.Block, 0);
            Assert.Null(bookmark.Block);
            bookmark.Release();
        }
    }

    [Fact]
    public void Nothing_is_kept_from_where_what_follows_is_gone()
    {
        var log = Make.Log(new SequenceClock(), Backlog);
        lock (log.Gate)
        {
            var cursor = new Cursor(log, null!, null, new CursorOptions());
            for (var i = 0; i < 50; i++) log.Append(ReliableClient.Numbered(i, 200), null);
            Assert.False(cursor.TryMark());
        }
    }

    static Stage Small(int unacknowledged = 1 << 20, Action<BroadcastOptions>? configure = null) => new(maxBacklog: Backlog, configure: options =>
    {
        (options.MaxUnacknowledgedBytes, options.RecoveryTimeout) = (unacknowledged, TimeSpan.FromHours(1));
        configure?.Invoke(options);
    });

    static long Retained(Stage stage) => stage.Broadcaster.Groups.Default.Budget!.Used;

    static void Publish(Stage stage, int id, int size = 200) => stage.Broadcaster.Publish(ReliableClient.Numbered(id, size), Recipients.Group("/g"));

    static void PublishEach(Stage stage, int from, int to)
    {
        foreach (var id in Act.Range(from, to))
        {
            Publish(stage, id);
            stage.RunUntilIdle();
        }
    }

    static (Connection Connection, ReliableClient Client, HandSink Sink) Connect(Stage stage)
    {
        var client = new ReliableClient();
        var sink = new HandSink(frames => client.Receive(frames.Span));
        var connection = stage.Connect(stage.Pumps[0], "/g", sink, protocol: ReliableClient.Protocol);
        stage.RunUntilIdle();
        return (connection, client, sink);
    }

    /// <summary>The group's newest block ends, and all move on.</summary>
    static void Rest(Stage stage)
    {
        for (var i = 0; i < 4; i++)
        {
            stage.Beat();
            stage.RunUntilIdle();
        }
    }

    static void Lose(Stage stage, Connection connection)
    {
        var suspended = connection.Writer.SuspendAsync();
        stage.RunUntilIdle();
        Assert.True(suspended.IsCompleted);
        Assert.Null(connection.Writer.ClosingStatus);
        _ = connection.Session!.WaitAsync();
        stage.RunUntilIdle();
    }

    /// <summary>False if it has been given up.</summary>
    static bool Resume(Stage stage, Connection connection, ReliableClient client)
    {
        var claim = connection.Session!.ClaimAsync(client.Token!);
        if (claim is not { IsCompletedSuccessfully: true, Result: { } token }) return false;
        var resumed = connection.ResumeAsync(new FakeRequest().Context, null!, new HandSink(frames => client.Receive(frames.Span)), token);
        stage.RunUntilIdle();
        return resumed is { IsCompletedSuccessfully: true, Result: true };
    }
}
