namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests the memory for stalled clients. No other test runs in parallel, because all tests share the heap.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class SlowConsumerMemoryTests
{
    [Fact]
    public async Task StalledClients_ManyBytesPublished_ShareOneBacklog()
    {
        const int Stalled = 10, Published = 64 * 1024 * 1024, Size = 32 * 1024, Backlog = 1024 * 1024;
        await using var app = await BroadcastApp.StartAsync(options: options =>
        {
            options.MaxBacklogBytes = Backlog;
            options.CloseTimeout = TimeSpan.FromMinutes(1);
        });
        var clients = new List<RawClient>();
        for (var i = 0; i < Stalled; i++) clients.Add(await RawClient.OpenAsync(app, receiveBuffer: 4096));
        var message = Numbered.Make(0, Size);
        var before = GC.GetTotalMemory(forceFullCollection: true);

        for (var published = 0; published < Published; published += Size)
            await app.Broadcaster.PublishAsync(message, cancellationToken: TestContext.Current.CancellationToken);

        var growth = GC.GetTotalMemory(forceFullCollection: true) - before;
        // All clients share one backlog. In addition, the server's pipes hold 64 KB and one write per client.
        Assert.InRange(growth, long.MinValue, 2 * Backlog + Stalled * 256 * 1024);
        Assert.Equal(Stalled, app.Registry.Count);
        foreach (var client in clients) client.Reset();
        await Eventually.True(() => app.Registry.Count == 0);
    }
}
