using System.Diagnostics;
using Broadcast.Middleware.Tests.Diagnostics;
using Broadcast.Middleware.Tests.Wire;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Limits;

/// <summary>How an app with many connections ends. Nothing else runs meanwhile: these tests measure time.</summary>
[Collection(nameof(Alone))]
public sealed class DrainTests
{
    static readonly TimeSpan Margin = TimeSpan.FromSeconds(1);

    [Fact]
    public async Task Everyone_is_told_1001_and_the_app_ends_as_soon_as_all_have_answered()
    {
        const int Count = 300;
        await using var app = await BroadcastApp.StartAsync(options: options => options.DrainTimeout = TimeSpan.FromSeconds(10));
        using var meters = new Meters(app);
        await using var crowd = await Crowd.OpenAsync(app, Count);
        var started = Stopwatch.GetTimestamp();

        var stopping = app.StopAsync();
        var goodbyes = await crowd.AnswerGoodbyesAsync(Count);
        await stopping;

        // 300 are spread over six steps of 50 ms, not over the window.
        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, TimeSpan.FromSeconds(4));
        Assert.All(goodbyes, goodbye => Assert.Equal(1001, goodbye.Code));
        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(new Dictionary<string, long> { ["shutting_down"] = Count }, meters.ByReason(Meters.Ended));
        Assert.Equal(0, meters.Sum(Meters.Connections));
        var line = Assert.Single(app.Logs.GetSnapshot(), record => record.Level == LogLevel.Information && record.Category == "Broadcast");
        Assert.Contains("300", line.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task While_the_app_says_goodbye_handshakes_are_refused()
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
    public async Task Those_who_do_not_answer_are_cut_off_when_the_window_ends()
    {
        var window = TimeSpan.FromSeconds(2);
        await using var app = await BroadcastApp.StartAsync(
            options: options => (options.DrainTimeout, options.CloseTimeout) = (window, TimeSpan.FromMinutes(1)));
        using var meters = new Meters(app);
        await using var answering = await Crowd.OpenAsync(app, 100);
        await using var silent = await Crowd.OpenAsync(app, 20);
        var started = Stopwatch.GetTimestamp();

        var stopping = app.StopAsync();
        await answering.AnswerGoodbyesAsync(100);
        await stopping;

        Assert.InRange(Stopwatch.GetElapsedTime(started), window * 0.9, window + Margin);
        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(120, meters.ByReason(Meters.Ended)["shutting_down"]);
    }

    [Fact]
    public async Task Five_thousand_of_whom_fifty_are_stalled_are_let_go_within_the_window_and_not_all_at_once()
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
        var goodbyes = await crowd.AnswerGoodbyesAsync(Count);
        await stopping;

        Assert.InRange(Stopwatch.GetElapsedTime(started), window * 0.9, window + Margin);
        Assert.Equal(Count, goodbyes.Count(goodbye => goodbye.Code == 1001));
        Assert.Equal(0, app.Registry.Count);
        // Spread over half of the window: never many of them in the same tenth of a second.
        var slots = goodbyes.GroupBy(goodbye => (int)(Stopwatch.GetElapsedTime(started, goodbye.At) / TimeSpan.FromMilliseconds(100))).ToList();
        Assert.True(slots.Count >= 15, $"The goodbyes came in {slots.Count} tenths of a second.");
        Assert.InRange(slots.Max(slot => slot.Count()), 1, Count / 4);
    }
}
