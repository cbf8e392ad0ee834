using BenchmarkDotNet.Attributes;
using Broadcast.Middleware.Connections;

namespace Broadcast.Benchmarks;

/// <summary>Measures one join and leave. The cost must not depend on the number of current or past members.</summary>
[MemoryDiagnoser]
public class JoinBenchmark
{
    const string Group = "/big";

    InMemoryBroadcast _broadcast = null!;
    Connection _connection = null!;

    [Params(10, 100_000)]
    public int Members { get; set; }

    [Params(0, 1_000_000)]
    public int PastMembers { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _broadcast = new InMemoryBroadcast();
        for (var i = 0; i < Members; i++) _broadcast.Connect(Group);
        _connection = _broadcast.Connect("/home");
        for (var i = 0; i < PastMembers; i++) JoinAndLeave();
    }

    [GlobalCleanup]
    public void Cleanup() => _broadcast.Dispose();

    [Benchmark]
    public void JoinAndLeave()
    {
        if (!InMemoryBroadcast.Join(_connection, Group).Joined || !_connection.Leave(Group)) throw new InvalidOperationException("The join or leave failed.");
    }
}
