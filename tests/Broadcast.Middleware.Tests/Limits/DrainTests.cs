using System.Diagnostics;
using Broadcast.Middleware.Tests.Diagnostics;
using Broadcast.Middleware.Tests.Wire;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Limits;

/// <summary>Tests how an app with many connections drains. No other test runs in parallel, because these tests measure time.</summary>
[Collection(nameof(Alone))]
public sealed class DrainTests
{
    static readonly TimeSpan Margin = TimeSpan.FromSeconds(1);

    [Fact]
    public async Task Drain_AllClientsAnswer_ClosesWith1001AndEndsEarly()
    {
        const int Count = 300;
        await using var app = await BroadcastApp.StartAsync(options: options => options.DrainTimeout = TimeSpan.FromSeconds(10));
        using var meters = new Meters(app);
        await using var crowd = await Crowd.OpenAsync(app, Count);
        var started = Stopwatch.GetTimestamp();

        var stopping = app.StopAsync();
        var closes = await crowd.AnswerCloseFramesAsync(Count);
        await stopping;

        // The 300 close frames are spread over six steps of 50 ms, not over the whole window.
        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, TimeSpan.FromSeconds(4));
        Assert.All(closes, close => Assert.Equal(1001, close.Code));
        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(new Dictionary<string, long> { ["shutting_down"] = Count }, meters.ByReason(Meters.Ended));
        Assert.Equal(0, meters.Sum(Meters.Connections));
        var line = Assert.Single(app.Logs.GetSnapshot(), record => record.Level == LogLevel.Information && record.Category == "Broadcast");
        Assert.Contains("300", line.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Handshake_DuringDrain_IsRefusedWith503()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.DrainTimeout = TimeSpan.FromSeconds(2));
        await using var client = await Client.OpenAsync(app);
        await using var early = await RawClient.ConnectAsync(app);
        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();

        var answer = await early.HandshakeAsync();

        Assert.Equal(503, answer.Status);
        Assert.NotNull(answer["Retry-After"]);
        Assert.Equal(1001, await Client.ClosedWithAsync(client));
    }

    [Fact]
    public async Task Drain_CloseFrameUnanswered_AbortsAtDrainTimeout()
    {
        var window = TimeSpan.FromSeconds(2);
        await using var app = await BroadcastApp.StartAsync(
            options: options => (options.DrainTimeout, options.CloseTimeout) = (window, TimeSpan.FromMinutes(1)));
        using var meters = new Meters(app);
        await using var answering = await Crowd.OpenAsync(app, 100);
        await using var silent = await Crowd.OpenAsync(app, 20);
        var started = Stopwatch.GetTimestamp();

        var stopping = app.StopAsync();
        await answering.AnswerCloseFramesAsync(100);
        await stopping;

        Assert.InRange(Stopwatch.GetElapsedTime(started), window * 0.9, window + Margin);
        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(120, meters.ByReason(Meters.Ended)["shutting_down"]);
    }

    [Fact]
    public async Task Drain_FiveThousandClients_SpreadsCloseFramesWithinWindow()
    {
        const int Count = 4_950, Stalled = 50;
        var window = TimeSpan.FromSeconds(5);
        await using var app = await BroadcastApp.StartAsync(
            Stall.SmallSendBuffers, options: options => (options.DrainTimeout, options.CloseTimeout) = (window, TimeSpan.FromMinutes(1)));
        await using var stalled = await Crowd.OpenAsync(app, Stalled);
        foreach (var connection in app.Registry.Connections)
        {
            for (var i = 0; i < 16; i++)
                await app.Broadcaster.PublishAsync(new byte[Stall.FillBytes / 16], Recipients.Connection(connection.Id), TestContext.Current.CancellationToken);
        }

        await using var crowd = await Crowd.OpenAsync(app, Count);
        var started = Stopwatch.GetTimestamp();
        var stopping = app.StopAsync();
        var closes = await crowd.AnswerCloseFramesAsync(Count);
        await stopping;

        Assert.InRange(Stopwatch.GetElapsedTime(started), window * 0.9, window + Margin);
        Assert.Equal(Count, closes.Count(close => close.Code == 1001));
        Assert.Equal(0, app.Registry.Count);
        // The close frames are spread over half of the window. No tenth of a second contains too many of them.
        var slots = closes.GroupBy(close => (int)(Stopwatch.GetElapsedTime(started, close.At) / TimeSpan.FromMilliseconds(100))).ToList();
        Assert.True(slots.Count >= 15, $"The close frames arrived in {slots.Count} tenths of a second.");
        Assert.InRange(slots.Max(slot => slot.Count()), 1, Count / 4);
    }
}
