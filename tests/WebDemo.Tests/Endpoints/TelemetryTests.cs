namespace WebDemo.Tests;

/// <summary>Tests that the demo sends metrics and traces to an OpenTelemetry collector.</summary>
public sealed class TelemetryTests
{
    [Fact]
    public async Task Export_WithEndpoint_SendsSpansAndMetrics()
    {
        await using var collector = await OtlpCollector.StartAsync();
        await using var server = await DemoServer.CreateAsync(
            $"--OTEL_EXPORTER_OTLP_ENDPOINT={collector.Url}", "--OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            "--OTEL_BSP_SCHEDULE_DELAY=100", "--OTEL_METRIC_EXPORT_INTERVAL=100");
        using var socket = await server.ConnectAsync("/ws");
        await server.WaitForCountAsync("/ws", 1);
        await socket.SendTextAsync("hello");
        using var response = await server.Http.PostAsync(
            new Uri("/publish?group=/ws", UriKind.Relative), new StringContent("to all"), TestContext.Current.CancellationToken);
        Assert.True(response.IsSuccessStatusCode);

        var message = await collector.WaitForSpanAsync(static span => span is { Scope: "Broadcast", Name: "process /ws" });
        // The price feed publishes without a request, so its spans have no parent.
        var publish = await collector.WaitForSpanAsync(static span => span is { Scope: "Broadcast", Name: "publish", ParentSpanId.Length: > 0 });
        // The HTTP request is the root of the trace that contains the publish.
        var request = await collector.WaitForSpanAsync(span => span.SpanId == publish.ParentSpanId);
        Assert.Equal(("Microsoft.AspNetCore", publish.TraceId, ""), (request.Scope, request.TraceId, request.ParentSpanId));
        Assert.Equal("", message.ParentSpanId);
        Assert.NotEqual(request.TraceId, message.TraceId);
        await collector.WaitForMetricAsync("Broadcast", "broadcast.messages.published", "{message}");
        await collector.WaitForMetricAsync("Broadcast", "broadcast.connections", "{connection}");
        await collector.WaitForMetricAsync("Microsoft.AspNetCore.Hosting", "http.server.request.duration", "s");
        Assert.Equal(["webdemo"], collector.ServiceNames);
    }
}
