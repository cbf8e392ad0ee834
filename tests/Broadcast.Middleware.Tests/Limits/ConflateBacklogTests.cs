using Broadcast.Middleware.Tests.Diagnostics;
using Broadcast.Middleware.Tests.Wire;

namespace Broadcast.Middleware.Tests.Limits;

public sealed class ConflateBacklogTests
{
    const int Backlog = 512 * 1024;

    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    public async Task A_stalled_client_stays_however_much_is_published_and_then_gets_the_newest_of_each_key(int pace)
    {
        const int Messages = 40_000, Keys = 50, Size = 200;
        var token = TestContext.Current.CancellationToken;
        await using var app = await ConflateTests.StartAsync(Backlog);
        using var meters = new Meters(app);
        await using var slow = await Stall.OpenAsync(app);
        var filled = await Stall.FillAsync(app, meters, Assert.Single(app.Registry.Connections).Id);

        // Some 16 times what is kept, with a pause in which the writer can look after every few messages.
        for (var i = 0; i < Messages; i++)
        {
            await app.Broadcaster.PublishAsync(new Message(Numbered.Make(i, Size), MessageType.Binary) { Key = $"key {i % Keys}" }, cancellationToken: token);
            if (i % pace == 0) await Task.Yield();
        }

        var got = await ConflateTests.ReadUntilAsync(slow, Messages - 1);
        Assert.Equal(got, got.Order().Distinct());
        Assert.Equal(Enumerable.Range(Messages - Keys, Keys), got.TakeLast(Keys));
        await Eventually.True(() => meters.Delivered == filled + got.Count);
        Assert.Equal(Messages - got.Count, meters.Sum(Meters.Dropped));
        await Client.IsThereAsync(slow);
    }
}
