using NSubstitute;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>
/// Tests the writer of a connection: the order of messages when the pump runs late, control frames, and the size of
/// writes.
/// </summary>
public sealed class ConnectionWriterTests
{
    static readonly byte[] Pong = [0x8A, 0];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task FirstDirectMessage_WithLatePump_ArrivesInOrder()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var socket = new ScriptedSocket();
        var (_, connection) = await app.ConnectAsync(socket);
        using (new BlockedPump(connection.Writer.Pump))
        {
            await app.Broadcaster.PublishAsync("1", cancellationToken: Token);
            await app.Broadcaster.PublishAsync("2", Recipients.Connection(connection.Id), cancellationToken: Token);
            await app.Broadcaster.PublishAsync("3", cancellationToken: Token);
        }

        await Eventually.True(() => socket.Sent.Count == 3);
        Assert.Equal(["1", "2", "3"], socket.SentTexts);
    }

    [Fact]
    public async Task FirstGroupMessageAfterJoin_WithLatePump_ArrivesInOrder()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var socket = new ScriptedSocket();
        var (_, connection) = await app.ConnectAsync(socket);
        using (new BlockedPump(connection.Writer.Pump))
        {
            await app.Broadcaster.PublishAsync("1", cancellationToken: Token);
            await app.Broadcaster.JoinAsync(connection.Id, "g", Token);
            await app.Broadcaster.PublishAsync("2", Recipients.Group("g"), cancellationToken: Token);
            await app.Broadcaster.PublishAsync("3", cancellationToken: Token);
        }

        await Eventually.True(() => socket.Sent.Count == 3);
        Assert.Equal(["1", "2", "3"], socket.SentTexts);
    }

    [Fact]
    public async Task Close_WithLatePump_DoesNotOvertakeGroupMessages()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var socket = new ScriptedSocket();
        var (served, connection) = await app.ConnectAsync(socket);
        await app.Broadcaster.PublishAsync("private", Recipients.Connection(connection.Id), cancellationToken: Token);
        await PumpBarrier.PassAsync(connection.Writer.Pump);
        using (new BlockedPump(connection.Writer.Pump))
        {
            await app.Broadcaster.PublishAsync("1", Recipients.Connection(connection.Id), cancellationToken: Token);
            await app.Broadcaster.JoinAsync(connection.Id, "g", Token);
            await app.Broadcaster.PublishAsync("2", Recipients.Group("g"), cancellationToken: Token);
            await app.Broadcaster.CloseAsync(connection.Id, cancellationToken: Token);
        }

        await served.Ended;
        Assert.Equal(["private", "1", "2"], socket.SentTexts);
    }

    [Fact]
    public async Task Leave_WithPendingWrite_IgnoresLaterGroupMessages()
    {
        await using var app = await InMemoryApp.StartManualAsync(options => (options.MaxMessageBytes, options.MaxBacklogBytes) = (1024, 2048));
        var release = new TaskCompletionSource();
        var (stuck, other) = (new ScriptedSocket { Sending = () => release.Task }, new ScriptedSocket());
        var (_, connection) = await app.ConnectAsync(stuck);
        var (_, stays) = await app.ConnectAsync(other);
        await app.Broadcaster.JoinAsync(connection.Id, "g", Token);
        await app.Broadcaster.JoinAsync(stays.Id, "g", Token);
        await PumpBarrier.PassAsync(connection.Writer.Pump);
        await app.Broadcaster.PublishAsync("first", cancellationToken: Token);
        await Eventually.True(() => stuck.Pending == 1);

        await app.Broadcaster.LeaveAsync(connection.Id, "g", Token);
        for (var i = 0; i < 10; i++) await app.Broadcaster.PublishAsync(new string('x', 500), Recipients.Group("g"), cancellationToken: Token);
        await app.Broadcaster.PublishAsync("last", Recipients.Connection(connection.Id), cancellationToken: Token);
        await PumpBarrier.PassAsync(connection.Writer.Pump);
        Assert.Null(connection.Writer.ClosingStatus);
        release.SetResult();
        await Eventually.True(() => stuck.Sent.Count == 2);
        Assert.Equal(["first", "last"], stuck.SentTexts);
    }

    [Fact]
    public async Task Close_WithLostMessages_IsNotReportedAsNormalClosure()
    {
        await using var app = await InMemoryApp.StartManualAsync(options => (options.MaxMessageBytes, options.MaxBacklogBytes) = (1024, 2048));
        var release = new TaskCompletionSource();
        var stuck = new ScriptedSocket { Sending = () => release.Task };
        var (served, connection) = await app.ConnectAsync(stuck);
        await app.Broadcaster.PublishAsync("first", cancellationToken: Token);
        await Eventually.True(() => stuck.Pending == 1);
        await app.Broadcaster.PublishAsync("second", cancellationToken: Token);
        await app.Broadcaster.CloseAsync(connection.Id, cancellationToken: Token);
        for (var i = 0; i < 10; i++) await app.Broadcaster.PublishAsync(new string('x', 500), cancellationToken: Token);
        await PumpBarrier.PassAsync(connection.Writer.Pump);
        release.SetResult();
        await served.Ended;
        var closedNormally = stuck.Socket.ReceivedCalls().Any(call =>
            call.GetMethodInfo().Name == "CloseOutputAsync" && call.GetArguments()[0] is System.Net.WebSockets.WebSocketCloseStatus.NormalClosure);
        Assert.True(!closedNormally || stuck.SentTexts.Contains("second"), "The close code is 1000, but a message from before the close is missing.");
    }

    /// <summary>
    /// The receive loop waits until its control frame is sent. A lost control frame would block the receive loop
    /// forever.
    /// </summary>
    [Fact]
    public async Task ControlFrame_SinkThrows_SentTaskFails()
    {
        using var broadcast = new TestEngine();
        var connection = broadcast.Connect(broadcast.Pumps[0], "/g", new ManualSink { Mode = WriteMode.Throws });
        var isDone = false;
        // Another thread runs the pump repeatedly, so that a control frame can arrive at any moment of a turn.
        var pumping = Task.Run(() =>
        {
            while (!Volatile.Read(ref isDone))
            {
                connection.Writer.Post();
                broadcast.RunUntilIdle();
            }
        }, Token);

        try
        {
            for (var i = 0; i < 10_000 * Effort.Factor; i++)
            {
                var write = SendPongAsync(connection);
                Assert.True(SpinWait.SpinUntil(() => write.IsCompleted, Eventually.Patience), "The frame is lost.");
                Assert.IsType<IOException>(write.Exception?.InnerException);
            }
        }
        finally
        {
            Volatile.Write(ref isDone, true);
            await pumping;
        }
    }

    [Fact]
    public async Task ControlFrame_ClientIsDisconnected_FailsAndIsNotSentOnNextTransport()
    {
        using var broadcast = new TestEngine();
        var connection = broadcast.Connect(broadcast.Pumps[0], "/g", new ManualSink(), protocol: ReliableReceiver.Protocol);
        broadcast.RunUntilIdle();
        connection.Detach();
        _ = connection.Writer.SuspendAsync();
        broadcast.RunUntilIdle();
        var session = connection.Session!;
        _ = session.WaitAsync();
        var token = await session.ClaimAsync(session.FirstToken);

        var late = SendPongAsync(connection);
        broadcast.RunUntilIdle();
        await Assert.ThrowsAsync<IOException>(() => late.WaitAsync(Eventually.Patience, Token));
        // In one turn, the writer finds this frame and the new transport.
        var later = SendPongAsync(connection);
        var client = new ReliableReceiver();
        var resumed = connection.ReattachAsync(new FakeRequest(), new ManualSink(written => client.Receive(written.Span)), token!);
        broadcast.RunUntilIdle();

        Assert.True(await resumed);
        await Assert.ThrowsAsync<IOException>(() => later.WaitAsync(Eventually.Patience, Token));
        Assert.Equal(token, client.Token);
        Assert.Null(client.Problem);
    }

    static Task SendPongAsync(Connection connection)
    {
        var pong = new ControlFrame(Pong);
        connection.Writer.WriteControlFrame(pong);
        return pong.Sent;
    }

    /// <summary>Tests encoded messages, which can be much larger than the messages in the log.</summary>
    [Theory]
    [InlineData("json")]
    [InlineData("reliable")]
    [InlineData("events")]
    public void Backlog_EncodedMessages_IsWrittenInPartsOfAtMost64KiB(string format)
    {
        const int Messages = 5_000;
        using var broadcast = new TestEngine();
        var group = "/" + new string('g', 200);
        var sizes = new List<int>();
        var sink = new ManualSink(written => sizes.Add(written.Length)) { Mode = WriteMode.Later };
        var connection = broadcast.Admit(new FakeRequest(), group, FormatOf(format), broadcast.Pumps[0].Pump);
        connection.Writer.Open(sink);
        Assert.True(broadcast.AttachAsync(connection).AsTask().IsCompletedSuccessfully);
        broadcast.RunUntilIdle();

        for (var i = 0; i < Messages; i++) broadcast.Publish(ReliableReceiver.Numbered(i), Recipients.Group(group));
        broadcast.RunUntilWritten(() => [sink]);

        Assert.InRange(sizes.Max(), 32 * 1024, 64 * 1024);
        Assert.Equal(Messages, broadcast.Pumps[0].Pump.Delivered);
        Assert.Null(sink.Violation);
    }

    static ConnectionFormat FormatOf(string name) => name switch
    {
        "json" => new ProtocolDescriptor(new JsonProtocol()),
        "reliable" => ReliableReceiver.Protocol,
        _ => EventStreamFormat.Instance,
    };

    /// <summary>Blocks a pump until the call of <see cref="Dispose"/>.</summary>
    sealed class BlockedPump : PumpItem, IDisposable
    {
        readonly ManualResetEventSlim _blocked = new();
        readonly ManualResetEventSlim _released = new();

        public BlockedPump(Pump pump)
        {
            pump.Post(this);
            _blocked.Wait(Eventually.Patience, Token);
        }

        public override void Run()
        {
            _blocked.Set();
            _released.Wait(Eventually.Patience);
        }

        public void Dispose() => _released.Set();
    }
}
