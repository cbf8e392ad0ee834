
namespace Broadcast.Middleware.Tests.Delivery;

public sealed class SkipToLatestLastMessageTests
{
    /// <summary>
    /// Tests that the server never skips the newest message. If the server skipped this message and no further message
    /// followed, the client would never receive the latest value.
    /// </summary>
    [Fact]
    public async Task SkipToLatest_NoFurtherMessage_DeliversNewestMessage()
    {
        const int Size = 1_000, Backlog = 64 * 1024;
        var token = TestContext.Current.CancellationToken;
        await using var app = await BroadcastApp.StartAsync(Stall.SmallSendBuffers, options: options =>
            (options.SlowConsumer, options.MaxBacklogBytes, options.MaxMessageBytes) = (SlowConsumer.SkipToLatest, Backlog, Size));
        using var meters = new Meters(app);
        await using var slow = await Stall.OpenAsync(app);
        await Stall.FillAsync(app, meters, Assert.Single(app.Registry.Connections).Id);

        // Publish one message more than the backlog allows. The newest message does not count toward the backlog.
        const int Last = (Backlog / (Size + 4)) + 1;
        for (var i = 0; i <= Last; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: token);
        await Eventually.True(() => meters.Sum(Meters.Dropped) > 0);
        await app.Broadcaster.PublishAsync("some time later", cancellationToken: token);

        var newest = -1;
        ServerFrame frame;
        while ((frame = await slow.ReadFrameAsync()).Opcode == ClientFrame.Binary)
        {
            if (!Stall.IsFiller(frame)) newest = Numbered.Read(frame.Payload);
        }

        Assert.Equal("some time later", frame.Text);
        Assert.Equal(Last, newest);
    }
}
