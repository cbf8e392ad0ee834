namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests the allocations for a small message that expands to a huge one. No other test runs in parallel, because the test counts all
/// allocations of the process.
/// </summary>
[Collection(nameof(NotParallelCollection))]
public sealed class CompressionBombTests
{
    [Fact]
    public async Task CompressedMessage_ExpandsBeyondLimit_ClosesAndAllocatesAtMost64MiB()
    {
        const int Rsv1 = 4;
        await using var app = await BroadcastApp.StartAsync(options: static options => options.CompressMessagesAbove = 64);
        await using var client = await RawClient.OpenAsync(app, ("Sec-WebSocket-Extensions", "permessage-deflate"));
        var bomb = Deflate.Compress(new byte[256 << 20]);
        Assert.True(bomb.Length < 400_000);
        var before = GC.GetTotalAllocatedBytes();

        await client.SendAsync(ClientFrame.Make(ClientFrame.Binary, bomb, rsv: Rsv1));

        Assert.Equal(1009, await client.ClosedWithAsync());
        Assert.InRange(GC.GetTotalAllocatedBytes() - before, 0, 64 << 20);
    }
}
