using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>Rare states of the messages that a log keeps for a resend. Random schedules seldom reach them.</summary>
public sealed class RetainedTests
{
    const int Backlog = 1_024;

    /// <summary>Clients that have everything wait on an empty block. Its start is also its end.</summary>
    [Fact]
    public void UnacknowledgedBurst_AfterTrim_IsKept()
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

    /// <summary>The cursor is at the end of a block, and its bookmark is on the next block.</summary>
    [Fact]
    public void UnacknowledgedBurst_AfterTrimWhileDisconnected_IsKept()
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
    public void AcknowledgedMessages_AreNotKept()
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
    public void MaxUnacknowledgedBytes_ExceededByOneClient_AffectsOnlyThatClient()
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
    public void Reconnect_AfterAcknowledgingDroppedMessages_Succeeds()
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
    public void Reconnect_WithoutAcknowledgingDroppedMessages_IsRefused()
    {
        using var stage = Small(unacknowledged: 20_000);
        var (connection, client, _) = Connect(stage);
        PublishEach(stage, 1, 200);
        connection.Writer.OnAcknowledged(client.LastId - 1);
        stage.RunUntilIdle();
        Lose(stage, connection);
        Assert.False(Resume(stage, connection, client));
    }

    /// <summary>
    /// The client acknowledges the messages of the old transport at once. It loses the new transport before the server
    /// resends them.
    /// </summary>
    [Fact]
    public void Acknowledgement_BeforeResend_PreventsResend()
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
    public void History_NotSentBeforeDisconnect_ArrivesWithoutIds()
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
    public void EmptyBlock_SuccessorPinnedFirst_IsHeld()
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
    public void Bookmark_AfterItsBlockIsDropped_StaysEmpty()
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
    public void TryMark_LaterMessagesAreGone_Fails()
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

    /// <summary>Ends the newest block of the group and moves all cursors to the next one.</summary>
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

    /// <summary>Resumes the connection. Returns false when the server refuses.</summary>
    static bool Resume(Stage stage, Connection connection, ReliableClient client)
    {
        var claim = connection.Session!.ClaimAsync(client.Token!);
        if (claim is not { IsCompletedSuccessfully: true, Result: { } token }) return false;
        var resumed = connection.ResumeAsync(new FakeRequest().Context, null!, new HandSink(frames => client.Receive(frames.Span)), token);
        stage.RunUntilIdle();
        return resumed is { IsCompletedSuccessfully: true, Result: true };
    }
}
