using Broadcast.Middleware.Tests.Diagnostics;
using Broadcast.Middleware.Tests.Wire;

namespace Broadcast.Middleware.Tests.Limits;

public sealed class ConflateBacklogTests
{
    const int Backlog = 512 * 1024;

    [Theory]
    [InlineData(100)]
    [InlineData(1000)]
    public async Task A_stalled_client_stays_however_much_is_published_and_then_gets_the_newest_of_each_key(int pace)
    {
        const int Messages = 40_000, Keys = 50, Size = 200;
        var token = TestContext.Current.CancellationToken;
        await using var app = await ConflateTests.StartAsync(Backlog);
        using var meters = new Meters(app);
        await using var slow = await Stall.OpenAsync(app);
        var connection = (Connection)Assert.Single(app.Registry.Connections);
        var filled = await Stall.FillAsync(app, meters, connection.Id);

        // Some 16 times what is kept; now and then the publisher waits until the writer has looked.
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
        await Client.IsThereAsync(slow);
    }
}
