using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Runtime.CompilerServices;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace WebDemo.Tests;

/// <summary>
/// An OpenTelemetry collector that keeps the received spans and metrics. It implements OTLP over HTTP with protobuf
/// (OTLP specification 1.9, section "OTLP/HTTP").
/// </summary>
sealed class OtlpCollector : IAsyncDisposable
{
    readonly ConcurrentQueue<OtlpSpan> _spans = [];
    readonly ConcurrentDictionary<(string Scope, string Name, string Unit), bool> _metrics = [];
    readonly ConcurrentDictionary<string, bool> _services = [];
    readonly WebApplication _app;

    OtlpCollector()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(static kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        _app = builder.Build();
        _app.MapPost("/v1/traces", context => ReceiveAsync(context, ReadSpans));
        _app.MapPost("/v1/metrics", context => ReceiveAsync(context, ReadMetrics));
    }

    public string Url => _app.Urls.Single();

    /// <summary>The distinct values of the resource attribute service.name.</summary>
    public IEnumerable<string> ServiceNames => _services.Keys;

    public static async Task<OtlpCollector> StartAsync()
    {
        var collector = new OtlpCollector();
        await collector._app.StartAsync(TestContext.Current.CancellationToken);
        return collector;
    }

    /// <summary>Waits for a span that satisfies the condition, and returns this span.</summary>
    public async Task<OtlpSpan> WaitForSpanAsync(
        Func<OtlpSpan, bool> condition, [CallerArgumentExpression(nameof(condition))] string? description = null)
    {
        await WaitAsync(() => _spans.Any(condition), description!);
        return _spans.First(condition);
    }

    public Task WaitForMetricAsync(string scope, string name, string unit) =>
        WaitAsync(() => _metrics.ContainsKey((scope, name, unit)), $"the metric {name}");

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    async Task WaitAsync(Func<bool> condition, string expected)
    {
        var watch = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(
                watch.Elapsed < TestLimits.Wait,
                $"The collector did not receive {expected}. It received {string.Join(", ", _spans)}, {string.Join(", ", _metrics.Keys)}");
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    static async Task ReceiveAsync(HttpContext context, Action<byte[]> read)
    {
        if (context.Request.ContentType != "application/x-protobuf")
        {
            context.Response.StatusCode = StatusCodes.Status415UnsupportedMediaType;
            return;
        }

        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted);
        read(body.ToArray());
        // An empty response message reports complete success.
        context.Response.ContentType = "application/x-protobuf";
    }

    // The numbers are the field numbers of opentelemetry-proto: ResourceSpans = 1, scope_spans = 2, spans = 2.
    void ReadSpans(byte[] request) => ReadScopes(request, (scope, span) => _spans.Enqueue(new(
        scope, Text(span, 5), Convert.ToHexString(Bytes(span, 1).Span), Convert.ToHexString(Bytes(span, 2).Span), Convert.ToHexString(Bytes(span, 4).Span))));

    void ReadMetrics(byte[] request) => ReadScopes(request, (scope, metric) => _metrics[(scope, Text(metric, 1), Text(metric, 3))] = true);

    void ReadScopes(byte[] request, Action<string, ReadOnlyMemory<byte>> read)
    {
        foreach (var resource in ProtobufFields.Read(request, 1))
        {
            foreach (var attribute in ProtobufFields.Read(Bytes(resource, 1), 1))
            {
                if (Text(attribute, 1) == "service.name") _services[Text(Bytes(attribute, 2), 1)] = true;
            }

            foreach (var scope in ProtobufFields.Read(resource, 2))
            {
                var name = Text(Bytes(scope, 1), 1);
                foreach (var item in ProtobufFields.Read(scope, 2)) read(name, item);
            }
        }
    }

    static string Text(ReadOnlyMemory<byte> message, int field) => Encoding.UTF8.GetString(Bytes(message, field).Span);

    static ReadOnlyMemory<byte> Bytes(ReadOnlyMemory<byte> message, int field) => ProtobufFields.Read(message, field).FirstOrDefault();
}

/// <summary>A received span. The IDs are hexadecimal. The parent is empty for the root of a trace.</summary>
sealed record OtlpSpan(string Scope, string Name, string TraceId, string SpanId, string ParentSpanId);
