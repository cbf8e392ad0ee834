using System.Diagnostics.Metrics;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;

namespace Broadcast.Middleware.Tests.Diagnostics;

/// <summary>
/// Tests that the metric http.server.request.duration contains only short requests. The requests of long connections
/// would distort this metric.
/// </summary>
public sealed class RequestDurationTests
{
    [Theory]
    [InlineData(true, new[] { "/ws 101" })]
    [InlineData(false, new string[0])]
    public async Task RequestDuration_WebSocket_IsMeasuredOnlyIfRequestEndsAfterHandshake(bool handsOver, string[] measured) =>
        Assert.Equal(measured, await MeasureAsync(handsOver, static async app =>
        {
            await using var client = await RawClient.OpenAsync(app);
            await client.LeaveAsync();
        }));

    [Fact]
    public async Task RequestDuration_EventStream_IsNotMeasured() =>
        Assert.Empty(await MeasureAsync(handsOver: true, static async app =>
        {
            await using var client = await EventClient.OpenAsync(app);
        }));

    [Fact]
    public async Task RequestDuration_RefusedRequests_AreMeasured() =>
        Assert.Equal(["/no 403", "/ws 400"], await MeasureAsync(handsOver: true, static async app =>
        {
            await using var refused = await RawClient.ConnectAsync(app);
            Assert.Equal(400, (await refused.HandshakeAsync("/ws", ("Upgrade", null), ("Connection", null))).Status);
            await using var rejected = await EventClient.AskAsync(app, "/no", headers: ("Accept", "text/event-stream"));
            Assert.Equal(403, rejected.Status);
        }));

    /// <summary>Runs clients, stops the app, and returns the sorted routes and statuses of the measured requests.</summary>
    static async Task<string[]> MeasureAsync(bool handsOver, Func<BroadcastApp, Task> runAsync)
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.Configure<BroadcastServerOptions>(server => server.HandsOverConnections = handsOver),
            static app =>
            {
                app.MapBroadcast("/ws");
                app.MapBroadcast("/no").UseConnect(static (_, _) => Task.CompletedTask);
            },
            choosesSends: true);
        using var durations = new MetricCollector<double>(
            app.Services.GetRequiredService<IMeterFactory>(), "Microsoft.AspNetCore.Hosting", "http.server.request.duration");
        await runAsync(app);
        // The server stops after the last request has ended, so all measurements exist. A request ends after its answer,
        // so two requests of different clients can end in any order.
        await app.StopAsync();
        return
        [
            .. durations.GetMeasurementSnapshot().Select(static measurement =>
                $"{measurement.Tags["http.route"]} {measurement.Tags["http.response.status_code"]}").Order(StringComparer.Ordinal),
        ];
    }
}
