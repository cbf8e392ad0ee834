using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace WebDemo;

/// <summary>Sends the metrics and traces of the demo to an OpenTelemetry collector.</summary>
static class Telemetry
{
    /// <summary>
    /// Starts the export if the setting <c>OTEL_EXPORTER_OTLP_ENDPOINT</c> is the URL of a collector. Without a
    /// collector, the demo creates no spans.
    /// </summary>
    public static void AddTelemetry(this WebApplicationBuilder builder)
    {
        if (string.IsNullOrEmpty(builder.Configuration["OTEL_EXPORTER_OTLP_ENDPOINT"])) return;
        builder.Services.AddOpenTelemetry()
            .ConfigureResource(resource => resource.AddService(builder.Configuration["OTEL_SERVICE_NAME"] ?? "webdemo"))
            .WithMetrics(metrics => metrics.AddBroadcastInstrumentation().AddMeter("Microsoft.AspNetCore.Hosting"))
            .WithTracing(tracing => tracing.AddBroadcastInstrumentation().AddSource("Microsoft.AspNetCore"))
            .UseOtlpExporter();
    }
}
