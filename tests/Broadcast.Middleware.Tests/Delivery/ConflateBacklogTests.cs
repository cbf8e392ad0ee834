
namespace Broadcast.Middleware.Tests.Delivery;

public sealed class ConflateBacklogTests
{
    const int Backlog = 512 * 1024;

    [Theory]
    [InlineData(100)]
    [InlineData(1000)]
    public async Task Conflate_StalledClient_ReceivesLatestOfEachKey(int pace)
    {
        const int Messages = 40_000, Keys = 50, Size = 200;
        var token = TestContext.Current.CancellationToken;
        await using var app = await ConflateTests.StartAsync(Backlog);
        using var meters = new Meters(app);
        await using var slow = await Stall.OpenAsync(app);
        var connection = (Connection)Assert.Single(app.Registry.Connections);
        var filled = await Stall.FillAsync(app, meters, connection.Id);

        // All messages together are about 16 times as large as the backlog limit. The publisher sometimes waits until
        // the writer has checked the limit.
        for (var i = 0; i < Messages; i++)
        {
            await app.Broadcaster.PublishAsync(new Message(Numbered.Make(i, Size), MessageType.Binary) { Key = $"key {i % Keys}" }, cancellationToken: token);
            if (i % pace == 0) await PumpBarrier.PassAsync(connection.Writer.Pump);
        }

        var got = await ConflateTests.ReadUntilAsync(slow, Messages - 1);
        Assert.Equal(got, got.Order().Distinct());
        Assert.Equal(Enumerable.Range(Messages - Keys, Keys), got.TakeLast(Keys));
        await Eventually.True(() => meters.Delivered == filled + got.Count);
        Assert.Equal(Messages - got.Count, meters.Sum(Meters.Dropped));
        await slow.AssertOpenAsync();
    }
}
