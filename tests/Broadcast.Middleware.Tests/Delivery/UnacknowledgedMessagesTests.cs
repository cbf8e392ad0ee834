namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests rare states of the messages that the server keeps for a resend. Random schedules seldom reach these states.</summary>
public sealed class UnacknowledgedMessagesTests
{
    const int Backlog = 1_024;

    /// <summary>
    /// Tests a client that has received all messages. The cursor of the client waits on an empty block, whose start is
    /// also the end.
    /// </summary>
    [Fact]
    public void UnacknowledgedMessages_PublishedAfterTrim_AreKept()
    {
        using var broadcast = Small();
        var (connection, client, _) = Connect(broadcast);
        TrimLogs(broadcast);
        PublishEach(broadcast, 1, 20);
        Disconnect(broadcast, connection);
        Assert.True(Resume(broadcast, connection, client));
        Assert.Equal(RecoveryHelpers.Range(1, 20), client.Got);
        Assert.Null(connection.Writer.ClosingStatus);
    }

    /// <summary>Tests a cursor at the end of a block. The bookmark of the cursor is in the next block.</summary>
    [Fact]
    public void UnacknowledgedMessages_PublishedAfterTrimWhileDisconnected_AreKept()
    {
        using var broadcast = Small();
        var (connection, client, _) = Connect(broadcast);
        Publish(broadcast, 1);
        broadcast.RunUntilIdle();
        connection.Writer.OnAcknowledged(client.LastId);
        broadcast.RunUntilIdle();
        Disconnect(broadcast, connection);
        TrimLogs(broadcast);
        for (var i = 2; i <= 20; i++) Publish(broadcast, i);
        broadcast.RunUntilIdle();
        Assert.True(Resume(broadcast, connection, client));
        Assert.Equal(RecoveryHelpers.Range(1, 20), client.Got);
        Assert.Null(connection.Writer.ClosingStatus);
    }

    [Fact]
    public void Acknowledgement_OfAllMessages_FreesTheirMemory()
    {
        using var broadcast = Small();
        var (connection, client, _) = Connect(broadcast);
        for (var i = 1; i <= 400; i++)
        {
            Publish(broadcast, i, size: 500);
            broadcast.RunUntilIdle();
        }

        Assert.InRange(Retained(broadcast), 400 * 500, 500 * 1_000);
        connection.Writer.OnAcknowledged(client.LastId);
        broadcast.RunUntilIdle();
        Assert.InRange(Retained(broadcast), 0, 80_000);
    }

    [Fact]
    public void MaxUnacknowledgedBytes_ExceededByOneClient_AffectsOnlyThatClient()
    {
        using var broadcast = Small(unacknowledged: 20_000);
        var (silent, silentClient, _) = Connect(broadcast);
        var (good, goodClient, _) = Connect(broadcast);
        for (var i = 1; i <= 1_000; i++)
        {
            Publish(broadcast, i);
            broadcast.RunUntilIdle();
            if (i < 995) good.Writer.OnAcknowledged(goodClient.LastId);
            broadcast.RunUntilIdle();
        }

        Assert.InRange(Retained(broadcast), 0, 150_000);
        Disconnect(broadcast, silent);
        Disconnect(broadcast, good);
        Assert.False(Resume(broadcast, silent, silentClient));
        Assert.True(Resume(broadcast, good, goodClient));
        Assert.Equal(RecoveryHelpers.Range(1, 1_000), goodClient.Got);
        Assert.Equal(RecoveryHelpers.Range(1, 1_000), silentClient.Got);
    }

    [Fact]
    public void Reconnect_AllDroppedMessagesAcknowledged_IsAccepted()
    {
        using var broadcast = Small(unacknowledged: 20_000);
        var (connection, client, _) = Connect(broadcast);
        PublishEach(broadcast, 1, 200);
        connection.Writer.OnAcknowledged(client.LastId);
        broadcast.RunUntilIdle();
        PublishEach(broadcast, 201, 201);
        Disconnect(broadcast, connection);
        Assert.True(Resume(broadcast, connection, client));
        Assert.Equal(RecoveryHelpers.Range(1, 201), client.Got);
    }

    [Fact]
    public void Reconnect_DroppedMessageUnacknowledged_IsRefused()
    {
        using var broadcast = Small(unacknowledged: 20_000);
        var (connection, client, _) = Connect(broadcast);
        PublishEach(broadcast, 1, 200);
        connection.Writer.OnAcknowledged(client.LastId - 1);
        broadcast.RunUntilIdle();
        Disconnect(broadcast, connection);
        Assert.False(Resume(broadcast, connection, client));
    }

    /// <summary>
    /// After its first disconnect, the client acknowledges all messages. After two reconnects, the server must not have
    /// resent the acknowledged messages.
    /// </summary>
    [Fact]
    public void Acknowledgement_BeforeResend_PreventsResend()
    {
        using var broadcast = Small();
        var (connection, client, _) = Connect(broadcast);
        for (var i = 1; i <= 5; i++) Publish(broadcast, i);
        broadcast.RunUntilIdle();
        Disconnect(broadcast, connection);
        connection.Writer.OnAcknowledged(client.LastId);
        Assert.True(Resume(broadcast, connection, client));
        Disconnect(broadcast, connection);
        Publish(broadcast, 6);
        Assert.True(Resume(broadcast, connection, client));
        Assert.Equal(RecoveryHelpers.Range(1, 6), client.Got);
        Assert.Equal(0, client.Dropped);
        Assert.Empty(client.WithoutId);
    }

    [Fact]
    public void History_NotSentBeforeDisconnect_ArrivesWithoutIds()
    {
        using var broadcast = Small(configure: RecoveryHelpers.History("/h", replayOnJoin: 10));
        foreach (var id in RecoveryHelpers.Range(1, 3)) broadcast.Publish(ReliableReceiver.Numbered(id), Recipients.Group("/h"));
        var (connection, client, _) = Connect(broadcast);
        Publish(broadcast, 4);
        broadcast.RunUntilIdle();
        var suspended = connection.SuspendAsync();
        connection.Join("/h");
        broadcast.RunUntilIdle();
        Assert.True(suspended.IsCompleted);
        _ = connection.Session!.WaitAsync();
        Assert.True(Resume(broadcast, connection, client));
        Assert.Equal([1, 2, 3, 4], client.Got.Order());
        Assert.Equal([1, 2, 3], client.WithoutId);
    }

    static TestEngine Small(int unacknowledged = 1 << 20, Action<BroadcastOptions>? configure = null) => new(maxBacklog: Backlog, configure: options =>
    {
        (options.MaxUnacknowledgedBytes, options.RecoveryTimeout) = (unacknowledged, TimeSpan.FromHours(1));
        configure?.Invoke(options);
    });

    static long Retained(TestEngine broadcast) => broadcast.Groups.GetSettings("").Budget!.Used;

    static void Publish(TestEngine broadcast, int id, int size = 200) => broadcast.Publish(ReliableReceiver.Numbered(id, size), Recipients.Group("/g"));

    static void PublishEach(TestEngine broadcast, int from, int to)
    {
        foreach (var id in RecoveryHelpers.Range(from, to))
        {
            Publish(broadcast, id);
            broadcast.RunUntilIdle();
        }
    }

    static (Connection Connection, ReliableReceiver Client, ManualSink Sink) Connect(TestEngine broadcast)
    {
        var client = new ReliableReceiver();
        var sink = new ManualSink(frames => client.Receive(frames.Span));
        var connection = broadcast.Connect(broadcast.Pumps[0], "/g", sink, protocol: ReliableReceiver.Protocol);
        broadcast.RunUntilIdle();
        return (connection, client, sink);
    }

    /// <summary>Ends the newest block of the group and moves all cursors to the next block.</summary>
    static void TrimLogs(TestEngine broadcast)
    {
        for (var i = 0; i < 4; i++)
        {
            broadcast.Beat();
            broadcast.RunUntilIdle();
        }
    }

    static void Disconnect(TestEngine broadcast, Connection connection)
    {
        var suspended = connection.SuspendAsync();
        broadcast.RunUntilIdle();
        Assert.True(suspended.IsCompleted);
        Assert.Null(connection.Writer.ClosingStatus);
        _ = connection.Session!.WaitAsync();
        broadcast.RunUntilIdle();
    }

    /// <summary>Resumes the connection. Returns false if the server refuses the reconnect.</summary>
    static bool Resume(TestEngine broadcast, Connection connection, ReliableReceiver client)
    {
        var claim = connection.Session!.ClaimAsync(client.Token!);
        if (claim is not { IsCompletedSuccessfully: true, Result: { } token }) return false;
        var resumed = connection.ReattachAsync(new FakeRequest(), new ManualSink(frames => client.Receive(frames.Span)), token);
        broadcast.RunUntilIdle();
        return resumed is { IsCompletedSuccessfully: true, Result: true };
    }
}
