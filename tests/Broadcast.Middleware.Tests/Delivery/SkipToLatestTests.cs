
namespace Broadcast.Middleware.Tests.Delivery;

public sealed class SkipToLatestTests
{
    const int Size = 1_000;

    [Fact]
    public async Task SkipToLatest_SlowClient_SkipsBacklogAndCountsDrops()
    {
        const int Messages = 3_000;
        await using var app = await BroadcastApp.StartAsync(Stall.SmallSendBuffers, options: options =>
            (options.SlowConsumer, options.MaxBacklogBytes) = (SlowConsumer.SkipToLatest, 512 * 1024));
        using var meters = new Meters(app);
        await using var healthy = await RawClient.OpenAsync(app);
        await using var slow = await Stall.OpenAsync(app);
        var heard = 0;
        // The publisher waits until the slow client has received the first message, and then continues.
        var first = slow.ReadFrameAsync();
        await Task.WhenAll(
            Numbered.PublishAllAsync(app, Messages, Size, () => first.IsCompleted ? Volatile.Read(ref heard) : 0),
            Numbered.ReadAllAsync(healthy, Messages, count => Volatile.Write(ref heard, count)));

        var zero = Numbered.Read((await first).Payload);
        var reading = ReadUntilAsync(slow, Messages);
        await Eventually.True(() => meters.Delivered + meters.Sum(Meters.Dropped) == 2 * Messages);
        await app.Broadcaster.PublishAsync(Numbered.Make(Messages, Size), cancellationToken: TestContext.Current.CancellationToken);
        List<int> got = [zero, .. await reading];

        Assert.Equal(0, got[0]);
        Assert.Equal(Messages, got[^1]);
        Assert.Equal(got, got.Order().Distinct());
        var missing = Messages + 1 - got.Count;
        Assert.True(missing > 0, "No message was skipped.");
        Assert.Equal(missing, meters.Sum(Meters.Dropped));
        Assert.Equal(missing, meters.ByReason(Meters.Dropped)["slow_consumer"]);
        // Each skip drops a whole backlog, so the client sees few gaps.
        Assert.InRange(got.Zip(got.Skip(1)).Count(pair => pair.Second > pair.First + 1), 1, 1 + (Messages * Size / (512 * 1024)));
        Assert.Equal(2, app.Registry.Count);
        await slow.AssertOpenAsync();
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task SkipToLatest_PrivateAndGroupLog_AreReadInOrder()
    {
        const int Messages = 1_000;
        await using var app = await BroadcastApp.StartAsync(Stall.SmallSendBuffers, options: options =>
            (options.SlowConsumer, options.MaxBacklogBytes) = (SlowConsumer.SkipToLatest, 128 * 1024));
        using var meters = new Meters(app);
        await using var slow = await Stall.OpenAsync(app);
        var id = Assert.Single(app.Registry.Connections).Id;
        var token = TestContext.Current.CancellationToken;

        // The private log gets few messages, and the group gets many messages.
        for (var i = 0; i < Messages; i++)
            await app.Broadcaster.PublishAsync(Numbered.Make(i, i % 50 == 0 ? 4 : Size), i % 50 == 0 ? Recipients.Connection(id) : Recipients.Group("/ws"), cancellationToken: token);
        var reading = ReadUntilAsync(slow, Messages);
        await Eventually.True(() => meters.Delivered + meters.Sum(Meters.Dropped) == Messages);
        await app.Broadcaster.PublishAsync(Numbered.Make(Messages, Size), cancellationToken: token);
        var got = await reading;

        Assert.Equal(got, got.Order().Distinct());
        Assert.Equal(Messages + 1 - got.Count, meters.Sum(Meters.Dropped));
        Assert.True(meters.Sum(Meters.Dropped) > 0, "No message was skipped.");
        Assert.Empty(Enumerable.Range(0, Messages).Where(i => i % 50 == 0).Except(got));
    }

    /// <summary>Reads messages until the number <paramref name="last"/> arrives, and returns all numbers.</summary>
    static async Task<List<int>> ReadUntilAsync(RawClient client, int last)
    {
        var got = new List<int>();
        while (got is [] || got[^1] != last)
        {
            var frame = await client.ReadFrameAsync();
            Assert.Equal(ClientFrame.Binary, frame.Opcode);
            got.Add(Numbered.Read(frame.Payload));
        }

        return got;
    }
}
