namespace Broadcast.Middleware.Tests.Wire;

public sealed class SlowConsumerTests
{
    const int SmallWindow = 4096;

    [Fact]
    public async Task A_client_that_never_reads_is_removed_and_the_others_hear_everything_in_order()
    {
        const int Messages = 5_000, Size = 1_000;
        await using var app = await BroadcastApp.StartAsync(options: options => options.CloseTimeout = TimeSpan.FromMilliseconds(500));
        await using var one = await RawClient.OpenAsync(app);
        await using var two = await RawClient.OpenAsync(app);
        await using var stalled = await RawClient.OpenAsync(app, receiveBuffer: SmallWindow);
        int heardByOne = 0, heardByTwo = 0;

        await Task.WhenAll(
            Numbered.PublishAllAsync(app, Messages, Size, () => Math.Min(Volatile.Read(ref heardByOne), Volatile.Read(ref heardByTwo))),
            Numbered.ReadAllAsync(one, Messages, count => Volatile.Write(ref heardByOne, count)),
            Numbered.ReadAllAsync(two, Messages, count => Volatile.Write(ref heardByTwo, count)));

        await Eventually.True(() => app.Registry.Count == 2);
        await Eventually.True(() => app.Registry.CountInGroup("/ws") == 2);
        // What it can still read are the first messages, and then the end: it was cut off.
        Assert.Equal(LineEnd.Reset, await stalled.ReadEndAsync());
        Assert.Contains(app.Logs.GetSnapshot(), record => record.Message.Contains("1013", StringComparison.Ordinal));
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task A_slow_client_that_reads_on_gets_a_prefix_without_a_gap_and_then_1013()
    {
        const int Messages = 6_000, Size = 1_000;
        await using var app = await BroadcastApp.StartAsync();
        await using var healthy = await RawClient.OpenAsync(app);
        await using var slow = await RawClient.OpenAsync(app, receiveBuffer: SmallWindow);
        var heard = 0;
        await Task.WhenAll(
            Numbered.PublishAllAsync(app, Messages, Size, () => Volatile.Read(ref heard)),
            Numbered.ReadAllAsync(healthy, Messages, count => Volatile.Write(ref heard, count)));

        var expected = 0;
        ServerFrame frame;
        while ((frame = await slow.ReadFrameAsync()).Opcode == ClientFrame.Binary) Assert.Equal(expected++, Numbered.Read(frame.Payload));

        Assert.Equal(ClientFrame.Close, frame.Opcode);
        Assert.Equal(1013, frame.CloseCode);
        Assert.Contains("slow", frame.CloseReason, StringComparison.OrdinalIgnoreCase);
        Assert.InRange(expected, 1, Messages - 1);
        await slow.SendAsync(ClientFrame.OfClose(1013));
        Assert.Equal(LineEnd.Finished, await slow.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 1);
    }

    [Fact]
    public async Task A_client_that_pauses_within_the_backlog_misses_nothing()
    {
        // More than the sockets' buffers take, less than the backlog.
        const int Messages = 8_000, Size = 1_000;
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxBacklogBytes = 16 * 1024 * 1024);
        await using var pausing = await RawClient.OpenAsync(app, receiveBuffer: SmallWindow);

        for (var i = 0; i < Messages; i++)
            await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: TestContext.Current.CancellationToken);

        await Numbered.ReadAllAsync(pausing, Messages);
        Assert.Equal(1, app.Registry.Count);
    }
}
