using System.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Http;

public sealed class RateLimitTests
{
    [Fact]
    public async Task RateLimit_BurstExceeded_ClosesOnlyThatConnectionWithCode1008()
    {
        const int Rate = 2, Burst = 10;
        await using var app = await BroadcastApp.StartAsync(
            options: options => (options.MaxMessagesPerSecond, options.MaxMessageBurst) = (Rate, Burst));
        using var meters = new Meters(app);
        await using var greedy = await RawClient.OpenAsync(app);
        await using var other = await RawClient.OpenAsync(app);
        var started = Stopwatch.GetTimestamp();

        await SendAsync(greedy, Burst);
        for (var i = 0; i < Burst; i++) Assert.Equal(ClientFrame.Text, (await greedy.ReadFrameAsync()).Opcode);
        await SendAsync(greedy, 100);

        Assert.Equal(1008, await greedy.ClosedWithAsync());
        await Eventually.True(() => app.Registry.Count == 1);
        var most = Burst + (Rate * Stopwatch.GetElapsedTime(started).TotalSeconds) + 1;
        Assert.InRange(meters.Sum(Meters.Received), Burst, most);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["rate_limited"]);
        var line = Assert.Single(app.Logs.GetSnapshot(), record => record.Message.Contains("MaxMessagesPerSecond", StringComparison.Ordinal));
        Assert.Equal(LogLevel.Debug, line.Level);

        // The other client received the accepted messages. Each client has its own burst, so the other client can still send.
        for (var i = 0; i < meters.Sum(Meters.Received); i++) Assert.Equal("x", (await other.ReadFrameAsync()).Text);
        await SendAsync(other, Burst);
        for (var i = 0; i < Burst; i++) Assert.Equal("x", (await other.ReadFrameAsync()).Text);
        await other.AssertOpenAsync();
    }

    [Fact]
    public async Task RateLimit_AfterLongPause_AllowsOnlyOneBurst()
    {
        const int Rate = 4, Burst = 4;
        await using var app = await BroadcastApp.StartAsync(
            options: options => (options.MaxMessagesPerSecond, options.MaxMessageBurst) = (Rate, Burst));
        using var meters = new Meters(app);
        await using var client = await RawClient.OpenAsync(app);
        // During this pause, the allowed rate would permit more than two bursts of messages.
        await Task.Delay(TimeSpan.FromSeconds(2.2), TestContext.Current.CancellationToken);
        var started = Stopwatch.GetTimestamp();

        await SendAsync(client, 20);

        Assert.Equal(1008, await client.ClosedWithAsync());
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.InRange(meters.Sum(Meters.Received), Burst, Burst + (Rate * Stopwatch.GetElapsedTime(started).TotalSeconds) + 1);
    }

    [Fact]
    public async Task RateLimit_AllowedRate_KeepsConnectionOpen()
    {
        const int Rate = 20;
        await using var app = await BroadcastApp.StartAsync(
            options: options => (options.MaxMessagesPerSecond, options.MaxMessageBurst) = (Rate, 1));
        await using var client = await RawClient.OpenAsync(app);

        for (var i = 0; i < 30; i++)
        {
            await SendAsync(client, 1);
            Assert.Equal("x", (await client.ReadFrameAsync()).Text);
            await Task.Delay(TimeSpan.FromSeconds(1.3 / Rate), TestContext.Current.CancellationToken);
        }

        await client.AssertOpenAsync();
    }

    [Fact]
    public async Task MaxMessageBurst_NotSet_IsOneSecondOfMessages()
    {
        const int Rate = 25;
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxMessagesPerSecond = Rate);
        await using var client = await RawClient.OpenAsync(app);

        await SendAsync(client, Rate);

        for (var i = 0; i < Rate; i++) Assert.Equal("x", (await client.ReadFrameAsync()).Text);
        await client.AssertOpenAsync();
    }

    /// <summary>Sends the given number of messages in one write.</summary>
    static Task SendAsync(RawClient client, int messages) =>
        client.SendAsync(Enumerable.Repeat(ClientFrame.CreateText("x"), messages).SelectMany(frame => frame).ToArray());
}
