using BenchmarkDotNet.Attributes;
using Broadcast.Middleware;

namespace Broadcast.Benchmarks;

/// <summary>One connection joins a group and leaves it, however many are in it, and however many were before.</summary>
[MemoryDiagnoser]
public class JoinBenchmark
{
    const string Group = "/big";

    Crowd _crowd = null!;
    Connection _connection = null!;

    [Params(10, 100_000)]
    public int Members { get; set; }

    [Params(0, 1_000_000)]
    public int PastMembers { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _crowd = new Crowd();
        for (var i = 0; i < Members; i++) _crowd.Connect(Group);
        _connection = _crowd.Connect("/home");
        for (var i = 0; i < PastMembers; i++) JoinAndLeave();
    }

    [GlobalCleanup]
    public void Cleanup() => _crowd.Dispose();

    [Benchmark]
    public void JoinAndLeave()
    {
        if (!_connection.Join(Group).Joined || !_connection.Leave(Group)) throw new InvalidOperationException();
    }
}
