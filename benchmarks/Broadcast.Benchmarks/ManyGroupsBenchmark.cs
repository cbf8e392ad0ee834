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

    [Params(1_000, 10_000)]
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

        // A group's first blocks are small: these are past that.
        for (var i = 0; i < 200; i++)
        {
            foreach (var name in _names) _crowd.Broadcaster.Publish(new(Payload, MessageType.Binary), Recipients.Group(name));
            _crowd.AwaitDeliveries(Groups * Members);
        }
    }

    [GlobalCleanup]
    public void Cleanup() => _crowd.Dispose();

    [Benchmark(OperationsPerInvoke = Messages)]
    public void OneByOne()
    {
        var message = new Message(Payload, MessageType.Binary);
        // Each round has arrived before the next, so that no group gets several messages in one write, however many groups there are.
        for (var round = 0; round < Messages / Groups; round++)
        {
            foreach (var name in _names) _crowd.Broadcaster.Publish(message, Recipients.Group(name));
            _crowd.AwaitDeliveries(Groups * Members);
        }
    }

    [Benchmark(OperationsPerInvoke = Messages)]
    public void AllAtOnce()
    {
        var message = new Message(Payload, MessageType.Binary);
        var all = Recipients.Groups(_names);
        for (var round = 0; round < Messages / Groups; round++)
        {
            _crowd.Broadcaster.Publish(message, all);
            _crowd.AwaitDeliveries(Groups * Members);
        }
    }
}
