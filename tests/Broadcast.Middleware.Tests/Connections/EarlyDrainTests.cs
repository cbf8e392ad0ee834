using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Connections;

public sealed class EarlyDrainTests
{
    /// <summary>
    /// Tests that the drain also closes an admitted connection that has not joined its home group yet.
    /// </summary>
    [Fact]
    public async Task Drain_ConnectFilterStillRuns_ClosesConnectionWithCode1001()
    {
        var release = new TaskCompletionSource();
        await using var app = await BroadcastApp.StartAsync(
            map: app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
            {
                await release.Task;
                await next(context);
            }),
            options: options => options.DrainTimeout = TimeSpan.FromSeconds(25));
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);

        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();

        Assert.Equal(1001, (await client.ReadCloseAsync()).CloseCode);
        release.SetResult();
        await client.SendAsync(ClientFrame.CreateClose(1001));
        await client.ReadEndAsync();
        await Eventually.True(() => app.Registry.Count == 0);
    }

    [Fact]
    public async Task Drain_LoggerThrows_StillClosesConnections()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Logging.AddProvider(new FaultyLogger("connections within")));
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);
        await Eventually.True(() => app.Registry.Count == 1);

        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();

        Assert.Equal(1001, (await client.ReadCloseAsync()).CloseCode);
    }
}
