using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Engines;
using Broadcast.Middleware;
using Broadcast.Middleware.Connections;

namespace Broadcast.Benchmarks;

/// <summary>Measures the replay of the history, as the cost per message and joining connection.</summary>
[MemoryDiagnoser]
[SimpleJob(RunStrategy.Monitoring, warmupCount: 3, iterationCount: 15)]
public class ReplayBenchmark
{
    const int Joiners = 1_000, History = 10_000;
    const string Group = "/history";

    InMemoryBroadcast _broadcast = null!;
    Connection[] _joiners = null!;

    [GlobalSetup]
    public void Setup()
    {
        _broadcast = new InMemoryBroadcast(options => options.Groups[Group] = new()
        {
            HistoryMessages = History, HistoryBytes = 1 << 24, HistoryAge = Timeout.InfiniteTimeSpan,
        });
        for (var i = 0; i < 2 * History; i++) _broadcast.Publish(new(new byte[100], MessageType.Binary), Recipients.Group(Group));
        _joiners = [.. Enumerable.Range(0, Joiners).Select(_ => _broadcast.Connect("/home"))];
    }

    [GlobalCleanup]
    public void Cleanup() => _broadcast.Dispose();

    [IterationCleanup]
    public void Leave()
    {
        foreach (var joiner in _joiners) joiner.Leave(Group);
    }

    [Benchmark(OperationsPerInvoke = Joiners * History)]
    public void Replay()
    {
        foreach (var joiner in _joiners) InMemoryBroadcast.Join(joiner, Group, Middleware.Replay.Last(History));
        _broadcast.WaitForDeliveries((long)Joiners * History);
    }
}
