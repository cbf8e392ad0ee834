
namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests the allocations for a huge frame. No other test runs in parallel, because the test counts all allocations of
/// the process.
/// </summary>
[Collection(nameof(NotParallelCollection))]
public sealed class HugeFrameTests
{
    [Fact]
    public async Task HugeFrame_ArrivingSlowly_AllocatesLittleAndEndsWithCode1009()
    {
        const int Limit = 1 << 20, Size = 4_000, Pieces = 400, Early = 40;
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxMessageBytes = Limit);
        using var meters = new Meters(app);
        await using var speaker = await RawClient.OpenAsync(app);
        await using var listener = await RawClient.OpenAsync(app);
        await using var offender = await RawClient.OpenAsync(app);
        await TalkAsync(-1);
        var piece = new byte[Size];
        var before = GC.GetTotalAllocatedBytes(precise: true);

        await offender.SendAsync(ClientFrame.Make(ClientFrame.Binary, [], declared: 1ul << 62));
        for (var sent = 0; sent < Pieces; sent++)
        {
            if (sent % 10 == 0) await TalkAsync(sent);
            // After the first 160,000 bytes, the server has allocated at most as many bytes as the maximum message
            // size.
            if (sent == Early) Assert.InRange(Allocated(), 0, Limit);
            await offender.SendAsync(piece);
        }

        Assert.Equal(1009, (await offender.ReadCloseAsync()).CloseCode);
        // The buffer doubles until it holds the maximum message size.
        Assert.InRange(Allocated(), 0, 8 * Limit);
        offender.Finish();
        await Eventually.True(() => app.Registry.Count == 2);
        await TalkAsync(Pieces);
        Assert.Equal(new Dictionary<string, long> { ["message_too_big"] = 1 }, meters.ByReason(Meters.Ended));
        Assert.Equal(2, meters.Sum(Meters.Connections));
        LogAssert.NoErrors(app);

        long Allocated() => GC.GetTotalAllocatedBytes(precise: true) - before;

        async Task TalkAsync(int number)
        {
            await speaker.SendAsync(ClientFrame.CreateText($"{number}"));
            foreach (var client in new[] { speaker, listener }) Assert.Equal($"{number}", (await client.ReadFrameAsync()).Text);
        }
    }
}
