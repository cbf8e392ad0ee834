namespace Broadcast.Middleware.Tests.Delivery;

public sealed class SlowConsumerTests
{
    const int SmallWindow = 4096;

    [Fact]
    public async Task Client_NeverReads_IsRemovedAndOtherClientsReceiveAllMessages()
    {
        const int Messages = 5_000, Size = 1_000;
        await using var app = await BroadcastApp.StartAsync(options: options => options.CloseTimeout = TimeSpan.FromMilliseconds(500));
        await using var one = await RawClient.OpenAsync(app);
        await using var two = await RawClient.OpenAsync(app);
        await using var stalled = await RawClient.OpenAsync(app, receiveBuffer: SmallWindow);
        int receivedByOne = 0, receivedByTwo = 0;

        await Task.WhenAll(
            Numbered.PublishAllAsync(app, Messages, Size, () => Math.Min(Volatile.Read(ref receivedByOne), Volatile.Read(ref receivedByTwo))),
            Numbered.ReadAllAsync(one, Messages, count => Volatile.Write(ref receivedByOne, count)),
            Numbered.ReadAllAsync(two, Messages, count => Volatile.Write(ref receivedByTwo, count)));

        await Eventually.True(() => app.Registry.Count == 2);
        await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == 2);
        // The client can still read the first messages. After these messages, the transport ends with a reset.
        Assert.Equal(TransportEnd.Reset, await stalled.ReadEndAsync());
        Assert.Contains(app.Logs.GetSnapshot(), record => record.Message.Contains("1013", StringComparison.Ordinal));
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task SlowClient_OverBacklog_ReceivesFirstMessagesThenCloseCode1013()
    {
        const int Messages = 6_000, Size = 1_000;
        await using var app = await BroadcastApp.StartAsync();
        await using var healthy = await RawClient.OpenAsync(app);
        await using var slow = await RawClient.OpenAsync(app, receiveBuffer: SmallWindow);
        var received = 0;
        // On a busy machine, the pump of the slow client may run late. So publish slowly until the client has the first message.
        var first = slow.ReadFrameAsync();
        await Task.WhenAll(
            Numbered.PublishAllAsync(app, Messages, Size, () => first.IsCompleted ? Volatile.Read(ref received) : 0),
            Numbered.ReadAllAsync(healthy, Messages, count => Volatile.Write(ref received, count)));

        Assert.Equal(0, Numbered.Read((await first).Payload));
        var expected = 1;
        ServerFrame frame;
        while ((frame = await slow.ReadFrameAsync()).Opcode == ClientFrame.Binary) Assert.Equal(expected++, Numbered.Read(frame.Payload));

        Assert.Equal(ClientFrame.Close, frame.Opcode);
        Assert.Equal(1013, frame.CloseCode);
        Assert.Contains("slow", frame.CloseReason, StringComparison.OrdinalIgnoreCase);
        Assert.InRange(expected, 1, Messages - 1);
        await slow.SendAsync(ClientFrame.CreateClose(1013));
        Assert.Equal(TransportEnd.Finished, await slow.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 1);
    }

    [Fact]
    public async Task PausingClient_WithinBacklog_MissesNoMessage()
    {
        // All messages together are larger than the socket buffers and smaller than the backlog limit.
        const int Messages = 8_000, Size = 1_000;
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxBacklogBytes = 16 * 1024 * 1024);
        await using var pausing = await RawClient.OpenAsync(app, receiveBuffer: SmallWindow);

        for (var i = 0; i < Messages; i++)
            await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: TestContext.Current.CancellationToken);

        await Numbered.ReadAllAsync(pausing, Messages);
        Assert.Equal(1, app.Registry.Count);
    }
}
