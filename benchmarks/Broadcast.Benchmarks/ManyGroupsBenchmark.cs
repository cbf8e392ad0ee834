using BenchmarkDotNet.Attributes;
using Broadcast.Middleware;

namespace Broadcast.Benchmarks;

/// <summary>A message to each of many groups of ten, delivered to all: the cost per message, and a tenth of it per member.</summary>
[MemoryDiagnoser]
public class ManyGroupsBenchmark
{
    const int Messages = 10_000, Members = 10;

    static readonly byte[] Payload = new byte[100];

    Crowd _crowd = null!;
    string[] _names = null!;

    [Params(100, 10_000)]
    public int Groups { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _crowd = new Crowd();
        _names = [.. Enumerable.Range(0, Groups).Select(static i => $"/rooms/{i}")];
        foreach (var name in _names)
        {
            for (var i = 0; i < Members; i++) _crowd.Connect(name);
        }
    }

    [GlobalCleanup]
    public void Cleanup() => _crowd.Dispose();

    [Benchmark(OperationsPerInvoke = Messages)]
    public void OneByOne()
    {
        var message = new Message(Payload, MessageType.Binary);
        for (var i = 0; i < Messages; i++) _crowd.Broadcaster.Publish(message, Recipients.Group(_names[i % Groups]));
        _crowd.AwaitDeliveries(Messages * Members);
    }

    [Benchmark(OperationsPerInvoke = Messages)]
    public void AllAtOnce()
    {
        var message = new Message(Payload, MessageType.Binary);
        var all = Recipients.Groups(_names);
        for (var i = 0; i < Messages / Groups; i++) _crowd.Broadcaster.Publish(message, all);
        _crowd.AwaitDeliveries(Messages * Members);
    }
}
