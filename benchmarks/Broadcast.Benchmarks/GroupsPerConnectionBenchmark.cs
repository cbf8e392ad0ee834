using BenchmarkDotNet.Attributes;
using Broadcast.Middleware;

namespace Broadcast.Benchmarks;

/// <summary>
/// Publishes to the groups of one connection in turn, and measures the time until the connection has received each
/// message. The result is the cost per message.
/// </summary>
[MemoryDiagnoser]
public class GroupsPerConnectionBenchmark
{
    const int Messages = 10_000;

    static readonly byte[] Payload = new byte[100];

    InMemoryBroadcast _broadcast = null!;
    Recipients[] _groups = null!;

    [Params(2, 10, 128, 5_000)]
    public int Groups { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _broadcast = new InMemoryBroadcast(options => options.MaxGroupsPerConnection = 10_000);
        var connection = _broadcast.Connect("/home");
        string[] names = ["/home", .. Enumerable.Range(1, Groups - 1).Select(static i => $"/rooms/{i}")];
        foreach (var name in names.Skip(1)) InMemoryBroadcast.Join(connection, name);
        _groups = [.. names.Select(static name => Recipients.Group(name))];
        OneByOne();
    }

    [GlobalCleanup]
    public void Cleanup() => _broadcast.Dispose();

    [Benchmark(OperationsPerInvoke = Messages)]
    public void OneByOne()
    {
        var message = new Message(Payload, MessageType.Binary);
        for (var i = 0; i < Messages; i++)
        {
            _broadcast.Publish(message, _groups[i % Groups]);
            _broadcast.WaitForDeliveries(1);
        }
    }
}
