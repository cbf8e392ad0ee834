using System.Diagnostics;
using BenchmarkDotNet.Attributes;
using Broadcast.Middleware;

namespace Broadcast.Benchmarks;

/// <summary>
/// Measures the cost of tracing per message. <see cref="Route"/> is the path without spans. Without a listener, the paths
/// that can create a span must cost the same as this path. Only the validation of the message and the calls of the
/// pipeline may cost more. The group has no members, so the result contains no deliveries.
/// </summary>
[MemoryDiagnoser]
public class TracingBenchmark
{
    const int Messages = 1_000;

    static readonly Message Message = new(new byte[100], MessageType.Binary);
    static readonly Recipients Recipients = Recipients.Group("/empty");

    InMemoryBroadcast _broadcast = null!;
    ActivityListener? _listener;
    Action<Message> _receive = null!;

    /// <summary>
    /// "None" measures an app without OpenTelemetry. "Rejects" and "Accepts" measure a sampler that rejects or accepts
    /// all spans.
    /// </summary>
    [Params("None", "Rejects", "Accepts")]
    public string Listener { get; set; } = "None";

    [GlobalSetup]
    public void Setup()
    {
        _broadcast = new InMemoryBroadcast();
        _receive = _broadcast.CreateReceiver(_broadcast.Connect("/ws"), Recipients);
        if (Listener == "None") return;
        var sampling = Listener == "Accepts" ? ActivitySamplingResult.AllDataAndRecorded : ActivitySamplingResult.None;
        _listener = new ActivityListener
        {
            ShouldListenTo = static source => source.Name == "Broadcast",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => sampling,
        };
        ActivitySource.AddActivityListener(_listener);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _listener?.Dispose();
        _broadcast.Dispose();
    }

    [Benchmark(Baseline = true, OperationsPerInvoke = Messages)]
    public void Route()
    {
        for (var i = 0; i < Messages; i++) _broadcast.Publish(Message, Recipients);
    }

    [Benchmark(OperationsPerInvoke = Messages)]
    public void Publish()
    {
        for (var i = 0; i < Messages; i++) _broadcast.PublishFromApp(Message, Recipients);
    }

    [Benchmark(OperationsPerInvoke = Messages)]
    public void Receive()
    {
        for (var i = 0; i < Messages; i++) _receive(Message);
    }
}
