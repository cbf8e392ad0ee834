using System.Text;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests clients that send very many frames, and very many clients that disconnect at once.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class FloodTests
{
    [Fact]
    public async Task PingFlood_ClientNeverReads_AbortsConnectionWithoutMemoryGrowth()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.SendTimeout = TimeSpan.FromSeconds(1));
        await using var other = await RawClient.OpenAsync(app);
        await using var flood = await RawClient.OpenAsync(app, receiveBuffer: 4096);
        var ping = ClientFrame.Make(ClientFrame.Ping, new byte[125]);
        var thousand = Enumerable.Repeat(ping, 1000).SelectMany(frame => frame).ToArray();
        var before = GC.GetTotalMemory(forceFullCollection: true);

        var end = await Record.ExceptionAsync(async () =>
        {
            // These pings do not fit into the buffers of the operating system, which can hold 15 MB.
            for (var i = 0; i < 400; i++) await flood.SendAsync(thousand);
        });

        Assert.IsType<IOException>(end, exactMatch: false);
        await Eventually.True(() => app.Registry.Count == 1);
        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, 16 * 1024 * 1024);
        await app.Broadcaster.PublishAsync("still here", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("still here", Encoding.UTF8.GetString((await other.ReadFrameAsync()).Payload));
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task FragmentFlood_TinyFragments_ClosesOnlyThatConnectionWithCode1009(int size)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var other = await RawClient.OpenAsync(app);
        await using var flood = await RawClient.OpenAsync(app);
        var fragments = Enumerable.Repeat(ClientFrame.Make(ClientFrame.Continuation, new byte[size], fin: false), 100_000).SelectMany(frame => frame).ToArray();

        // The server stops reading at an unknown point, so this send may fail.
        var sending = Record.ExceptionAsync(() => flood.SendAsync(ClientFrame.Make(ClientFrame.Text, [], fin: false), fragments));

        Assert.Equal(1009, (await flood.ReadCloseAsync()).CloseCode);
        await flood.SendAsync(ClientFrame.CreateClose(1009));
        await sending;
        await Eventually.True(() => app.Registry.Count == 1);
        await other.JoinedAsync();
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Publish_ThousandConnectionsReset_RemovesAllConnections()
    {
        // The test uses 1,000 connections, or up to 5,000 with a higher Effort.Factor.
        var count = 1_000 * Math.Min(Effort.Factor, 5);
        using var unobserved = new UnobservedExceptions();
        await RunAsync();
        unobserved.AssertNoneOfOurs();

        async Task RunAsync()
        {
            await using var app = await BroadcastApp.StartAsync();
            await using var crowd = await ManyClients.OpenAsync(app, count);
            using var stop = new CancellationTokenSource();
            var publishing = Task.Run(async () =>
            {
                for (var i = 0; !stop.IsCancellationRequested; i++)
                {
                    await app.Broadcaster.PublishAsync(Numbered.Make(i, 100), cancellationToken: TestContext.Current.CancellationToken);
                    await Task.Yield();
                }
            }, TestContext.Current.CancellationToken);

            crowd.Reset();

            await Eventually.True(() => app.Registry.Count == 0);
            await stop.CancelAsync();
            await publishing;
            await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == 0);
            LogAssert.NoErrors(app);
        }
    }
}
