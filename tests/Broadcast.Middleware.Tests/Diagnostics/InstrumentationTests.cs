using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace Broadcast.Middleware.Tests.Diagnostics;

/// <summary>
/// Tests AddBroadcastInstrumentation. OpenTelemetry selects sources by name, so an exporter also receives the spans of
/// other tests. Therefore, no other test runs in parallel.
/// </summary>
[Collection(nameof(NotParallelCollection))]
public sealed class InstrumentationTests
{
    [Fact]
    public async Task AddBroadcastInstrumentation_Publish_ExportsSpanAndMetric()
    {
        var exporter = new Exporter();
        await using var app = await TestHosts.StartAsync(builder => builder.Services.AddOpenTelemetry()
            .WithTracing(tracing => tracing.AddBroadcastInstrumentation().AddProcessor(new SimpleActivityExportProcessor(exporter)))
            .WithMetrics(metrics => metrics.AddBroadcastInstrumentation().AddReader(new BaseExportingMetricReader(new MetricExporter(exporter)))));
        await app.Broadcaster.PublishAsync("hello", cancellationToken: TestContext.Current.CancellationToken);
        Assert.True(app.Services.GetRequiredService<MeterProvider>().ForceFlush());

        Assert.Equal(["publish"], exporter.Spans);
        Assert.Contains("broadcast.messages.published", exporter.Metrics);
    }

    [Fact]
    public void AddBroadcastInstrumentation_NullBuilder_Throws()
    {
        Assert.Throws<ArgumentNullException>("builder", static () => ((TracerProviderBuilder)null!).AddBroadcastInstrumentation());
        Assert.Throws<ArgumentNullException>("builder", static () => ((MeterProviderBuilder)null!).AddBroadcastInstrumentation());
    }

    sealed class Exporter : BaseExporter<Activity>
    {
        public ConcurrentQueue<string> Spans { get; } = [];

        public ConcurrentQueue<string> Metrics { get; } = [];

        public override ExportResult Export(in Batch<Activity> batch)
        {
            foreach (var span in batch) Spans.Enqueue(span.DisplayName);
            return ExportResult.Success;
        }
    }

    sealed class MetricExporter(Exporter exporter) : BaseExporter<Metric>
    {
        public override ExportResult Export(in Batch<Metric> batch)
        {
            foreach (var metric in batch) exporter.Metrics.Enqueue(metric.Name);
            return ExportResult.Success;
        }
    }
}
