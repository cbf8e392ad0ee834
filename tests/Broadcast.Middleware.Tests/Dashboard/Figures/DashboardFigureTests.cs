using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using Broadcast.Middleware.Dashboard.Diagnostics;
using Broadcast.Middleware.Dashboard.Figures;
using Broadcast.Middleware.Dashboard.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Dashboard.Figures;

/// <summary>Tests the figures that a viewer of the dashboard receives.</summary>
public sealed class DashboardFigureTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Sample_ClientsConnectAndPublish_ShowsLiveValues()
    {
        await using var app = await DashboardViewer.StartAppAsync();
        await using var viewer = await DashboardViewer.OpenAsync(app);
        var hello = await viewer.ReadAsync("hello");
        Assert.Equal(("", false), (hello.GetProperty("broadcast").GetString(), hello.GetProperty("isCluster").GetBoolean()));
        var empty = await viewer.ReadAsync("sample");
        Assert.Equal((0, 0), (empty.GetProperty("connections").GetInt32(), empty.GetProperty("groups").GetInt32()));

        await using var ann = await RawClient.OpenAsync(app);
        await using var bob = await RawClient.OpenAsync(app, "/rooms/blue");
        await viewer.ReadSampleAsync(static sample => (sample.GetProperty("connections").GetInt32(), sample.GetProperty("groups").GetInt32()) == (2, 2));

        await ann.SendAsync(ClientFrame.CreateText("hi"));
        var busy = await viewer.ReadSampleAsync(static sample => sample.GetProperty("received").GetDouble() > 0);
        // The server counts a message first as received, then as published and then as delivered. A sample may come between.
        foreach (var figure in new[] { "published", "delivered" })
        {
            if (busy.GetProperty(figure).GetDouble() == 0) busy = await viewer.ReadSampleAsync(sample => sample.GetProperty(figure).GetDouble() > 0);
        }

        Assert.True(busy.GetProperty("p99").GetDouble() >= busy.GetProperty("median").GetDouble());

        await ann.LeaveAsync();
        await viewer.ReadSampleAsync(static sample => sample.GetProperty("connections").GetInt32() == 1);
    }

    [Fact]
    public async Task Viewer_Connected_DoesNotCountInFiguresOfApp()
    {
        await using var app = await DashboardViewer.StartAppAsync();
        using var meters = new Meters(app);
        await using var viewer = await DashboardViewer.OpenAsync(app);
        await viewer.ReadAsync("sample");
        Assert.Equal("problem", (await viewer.RequestAsync("""  "type":"nothing" """)).GetProperty("type").GetString());
        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(0, app.Inside().Groups.Count);
        Assert.Equal((0, 0, 0, 0), (meters.Sum(Meters.Connections), meters.Sum(Meters.Received), meters.Sum(Meters.Published), meters.Delivered));
    }

    [Fact]
    public async Task LatencyMeasurement_LastViewerLeaves_StopsUntilNextViewer()
    {
        await using var app = await DashboardViewer.StartAppAsync();
        var latency = FindLatency(app);
        Assert.False(latency.Enabled);
        await using var ann = await DashboardViewer.OpenAsync(app);
        await using var bob = await DashboardViewer.OpenAsync(app);
        await ann.ReadAsync("sample");
        Assert.True(latency.Enabled);
        await ann.LeaveAsync();
        await bob.ReadAsync("sample");
        Assert.True(latency.Enabled);
        await bob.LeaveAsync();
        await Eventually.True(() => !latency.Enabled);
        await using var cid = await DashboardViewer.OpenAsync(app);
        await cid.ReadAsync("sample");
        Assert.True(latency.Enabled);
    }

    [Fact]
    public async Task Viewer_ConnectsLater_ReceivesEarlierSamples()
    {
        await using var app = await DashboardViewer.StartAppAsync();
        await using var ann = await DashboardViewer.OpenAsync(app);
        var first = await ann.ReadAsync("sample");
        await using var bob = await DashboardViewer.OpenAsync(app);
        var hello = await bob.ReadAsync("hello");
        Assert.Contains(hello.GetProperty("samples").EnumerateArray(), sample => sample.GetProperty("time").GetInt64() == first.GetProperty("time").GetInt64());
    }

    [Fact]
    public async Task Measurement_StartFails_StartsOneSecondLater()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);
        var (inside, calls) = (app.Inside(), 0);
        var logger = app.Services.GetRequiredService<ILoggerFactory>().CreateLogger("dashboard");
        var sampler = new Sampler(
            () => ++calls == 1
                ? throw new InvalidOperationException("boom")
                : new(inside.Meter, () => inside.Connections.Count, () => 0, new SlowClients(inside.Connections.All, () => inside.Heartbeat.Now), TimeProvider.System),
            inside.Broadcaster,
            TimeProvider.System,
            new DashboardLogger(logger));

        sampler.AddViewer();

        Assert.Contains("\"connections\":1", (await client.ReadFrameAsync()).Text, StringComparison.Ordinal);
        Assert.Equal("boom", Assert.Single(app.Logs.GetSnapshot(), static record => record.Level >= LogLevel.Error).Exception?.Message);
        sampler.RemoveViewer();
        var latency = FindLatency(app);
        await Eventually.True(() => !latency.Enabled);
        Assert.Equal(2, calls);
    }

    [Fact]
    public async Task DashboardMessages_ViewerConnected_AreNotTracedByActivitySourceOfApp()
    {
        var spans = new ConcurrentQueue<string>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = static source => source.Tags?.Any(static tag => tag is { Key: "broadcast.name", Value: "Dashboard" }) is true,
            Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStarted = span => spans.Enqueue(span.Source.Name),
        };
        ActivitySource.AddActivityListener(listener);
        await using var app = await DashboardViewer.StartAppAsync();
        await using var viewer = await DashboardViewer.OpenAsync(app);
        await viewer.ReadAsync("sample");
        await viewer.ReadAsync("sample");
        // The dashboard publishes each sample. So the source Broadcast.Internal must have spans.
        Assert.Contains("Broadcast.Internal", spans);
        Assert.DoesNotContain("Broadcast", spans);
    }

    [Fact]
    public async Task SlowClient_DoesNotRead_IsListedWithBacklog()
    {
        await using var app = await DashboardViewer.StartAppAsync(Stall.SmallSendBuffers);
        using var meters = new Meters(app);
        await using var viewer = await DashboardViewer.OpenAsync(app);
        await using var fast = await RawClient.OpenAsync(app, "/rooms/blue");
        var slow = await Stall.OpenAsync(app);
        var id = app.Registry.GetGroupMembers("/ws").Single().Id;
        await Stall.FillAsync(app, meters, id);
        await app.Broadcaster.PublishAsync(new byte[100_000], Recipients.Connection(id), cancellationToken: Token);
        await app.Broadcaster.PublishAsync(new byte[1], Recipients.Connection(id), cancellationToken: Token);
        // The first sample may show the client without a backlog, because the server has not published the last messages yet.
        var sample = await viewer.ReadSampleAsync(static sample =>
            sample.GetProperty("slow").EnumerateArray().Any(static client => client.GetProperty("backlog").GetInt64() > 0));
        var client = Assert.Single(sample.GetProperty("slow").EnumerateArray());
        Assert.Equal((id, "/ws"), (client.GetProperty("id").GetString(), client.GetProperty("homeGroup").GetString()));
        // The first message contains the samples of the last minutes, but without the lists of slow clients. With these
        // lists, the message could exceed the limit for messages.
        await using var later = await DashboardViewer.OpenAsync(app);
        var earlier = (await later.ReadAsync("hello")).GetProperty("samples").EnumerateArray().ToList();
        Assert.Contains(earlier, static sample => sample.GetProperty("slowCount").GetInt32() == 1);
        Assert.All(earlier, static sample => Assert.Empty(sample.GetProperty("slow").EnumerateArray()));
        Assert.True(client.GetProperty("waiting").GetInt64() >= 500);
        Assert.InRange(client.GetProperty("backlog").GetInt64(), 100_000, 1024 * 1024);
        await slow.DisposeAsync();
        await viewer.ReadSampleAsync(static sample => sample.GetProperty("slowCount").GetInt32() == 0);
    }

    [Theory]
    [InlineData(0.000_001)]
    [InlineData(0.000_7)]
    [InlineData(0.25)]
    [InlineData(3600)]
    public void Histogram_OneLatency_IsAtMostOneEighthTooHigh(double seconds)
    {
        var histogram = new LatencyHistogram();
        histogram.Add(seconds);
        var (median, p99) = histogram.TakePercentiles()!.Value;
        Assert.Equal(median, p99);
        Assert.InRange(p99, seconds * 1000, seconds * 1000 * 1.125 * 1.0001);
        Assert.Null(histogram.TakePercentiles());
    }

    [Fact]
    public void HistogramP99_SlowLatencies_AreVisibleOnlyAboveOnePercent()
    {
        var histogram = new LatencyHistogram();
        for (var i = 0; i < 199; i++) histogram.Add(0.001);
        histogram.Add(1);
        Assert.InRange(histogram.TakePercentiles()!.Value.P99, 1, 1.125);
        for (var i = 0; i < 97; i++) histogram.Add(0.001);
        for (var i = 0; i < 3; i++) histogram.Add(1);
        Assert.InRange(histogram.TakePercentiles()!.Value.P99, 1000, 1125);
    }

    static Instrument FindLatency(BroadcastApp app)
    {
        var meter = app.Services.GetRequiredKeyedService<BroadcastInstance>("").Meter;
        Instrument? found = null;
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, _) =>
        {
            if (instrument.Meter == meter && instrument.Name == Meters.LatencyName) found = instrument;
        };
        listener.Start();
        return found!;
    }
}
