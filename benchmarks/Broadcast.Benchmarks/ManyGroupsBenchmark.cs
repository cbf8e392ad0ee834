using BenchmarkDotNet.Attributes;
using Broadcast.Middleware;

namespace Broadcast.Benchmarks;

/// <summary>
/// Publishes to many groups with ten members each, and measures the time until all members have received the messages.
/// The result is the cost per message.
/// </summary>
[MemoryDiagnoser]
public class ManyGroupsBenchmark
{
    const int Messages = 10_000, Members = 10;

    static readonly byte[] Payload = new byte[100];

    InMemoryBroadcast _broadcast = null!;
    string[] _names = null!;

    [Params(1_000, 10_000)]
    public int Groups { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _broadcast = new InMemoryBroadcast();
        _names = [.. Enumerable.Range(0, Groups).Select(static i => $"/rooms/{i}")];
        // In an app, the connections of a group are not neighbors in memory.
        var homes = new string[Groups * Members];
        for (var i = 0; i < homes.Length; i++) homes[i] = _names[i % Groups];
        new Random(1).Shuffle(homes);
        foreach (var home in homes) _broadcast.Connect(home);

        // The first blocks of a log are small. Publish until all logs use full blocks.
        for (var i = 0; i < 200; i++)
        {
            foreach (var name in _names) _broadcast.Publish(new(Payload, MessageType.Binary), Recipients.Group(name));
            _broadcast.WaitForDeliveries(Groups * Members);
        }
    }

    [GlobalCleanup]
    public void Cleanup() => _broadcast.Dispose();

    [Benchmark(OperationsPerInvoke = Messages)]
    public void OneByOne()
    {
        var message = new Message(Payload, MessageType.Binary);
        // Wait after each round. Otherwise, one write could send several messages of a group.
        for (var round = 0; round < Messages / Groups; round++)
        {
            foreach (var name in _names) _broadcast.Publish(message, Recipients.Group(name));
            _broadcast.WaitForDeliveries(Groups * Members);
        }
    }

    [Benchmark(OperationsPerInvoke = Messages)]
    public void AllAtOnce()
    {
        var message = new Message(Payload, MessageType.Binary);
        var all = Recipients.Groups(_names);
        for (var round = 0; round < Messages / Groups; round++)
        {
            _broadcast.Publish(message, all);
            _broadcast.WaitForDeliveries(Groups * Members);
        }
    }
}
