using Broadcast.Middleware.Tests.Diagnostics;
using Broadcast.Middleware.Tests.Limits;

namespace Broadcast.Middleware.Tests.Wire;

/// <summary>Alone, since what is allocated is counted for all.</summary>
[Collection(nameof(Alone))]
public sealed class HugeFrameTests
{
    [Fact]
    public async Task Four_exabytes_that_trickle_in_cost_what_has_come_and_end_with_1009_and_the_others_hear_each_other_all_the_while()
    {
        const int Limit = 1 << 20, Size = 4_000, Pieces = 400, Early = 40;
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxMessageBytes = Limit);
        using var meters = new Meters(app);
        await using var speaker = await RawClient.OpenAsync(app);
        await using var hearer = await RawClient.OpenAsync(app);
        await using var offender = await RawClient.OpenAsync(app);
        await TalkAsync(-1);
        var piece = new byte[Size];
        var before = GC.GetTotalAllocatedBytes(precise: true);

        await offender.SendAsync(ClientFrame.Make(ClientFrame.Binary, [], declared: 1ul << 62));
        for (var sent = 0; sent < Pieces; sent++)
        {
            if (sent % 10 == 0) await TalkAsync(sent);
            // Not even what is allowed is allocated before it comes.
            if (sent == Early) Assert.InRange(Allocated(), 0, Limit);
            await offender.SendAsync(piece);
        }

        Assert.Equal(1009, (await offender.ReadCloseAsync()).CloseCode);
        // A buffer that doubles until it holds what is allowed.
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
            await speaker.SendAsync(ClientFrame.OfText($"{number}"));
            foreach (var client in new[] { speaker, hearer }) Assert.Equal($"{number}", (await client.ReadFrameAsync()).Text);
        }
    }
}
