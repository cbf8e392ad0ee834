
namespace Broadcast.Middleware.Tests.Delivery;

public sealed class LaggingClientTests
{
    [Fact]
    public async Task LaggingClient_LeavesGroup_IsNotClosedForLaterMessages()
    {
        const int Backlog = 256 * 1024, Size = 32 * 1024;
        var token = TestContext.Current.CancellationToken;
        // With small buffers, a write can take longer than SendTimeout. By default, BroadcastApp disables SendTimeout.
        await using var app = await BroadcastApp.StartAsync(Stall.SmallSendBuffers, options: options => options.MaxBacklogBytes = Backlog);
        using var meters = new Meters(app);
        await using var slow = await Stall.OpenAsync(app);
        var id = Assert.Single(app.Registry.Connections).Id;
        await using var other = await RawClient.OpenAsync(app);
        foreach (var connection in app.Registry.Connections) Assert.True(await app.Broadcaster.JoinAsync(connection.Id, "news", token));
        var filled = await Stall.FillAsync(app, meters, id);

        Assert.True(await app.Broadcaster.LeaveAsync(id, "news", token));
        for (var i = 0; i < 2 * Backlog / Size; i++)
        {
            await app.Broadcaster.PublishAsync(new byte[Size], Recipients.Group("news"), cancellationToken: token);
            await other.ReadFrameAsync();
        }

        await app.Broadcaster.PublishAsync("hello", cancellationToken: token);
        for (var i = 0; i < filled; i++) Assert.True(Stall.IsFiller(await slow.ReadFrameAsync()));
        Assert.Equal("hello", (await slow.ReadFrameAsync()).Text);
        await slow.AssertOpenAsync();
    }
}
