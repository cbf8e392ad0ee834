using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Engines;
using Broadcast.Middleware;

namespace Broadcast.Benchmarks;

/// <summary>Joiners are given a history: the cost per message and joiner.</summary>
[MemoryDiagnoser]
[SimpleJob(RunStrategy.Monitoring, warmupCount: 3, iterationCount: 15)]
public class ReplayBenchmark
{
    const int Joiners = 1_000, History = 10_000;
    const string Group = "/history";

    Crowd _crowd = null!;
    Connection[] _joiners = null!;

    [GlobalSetup]
    public void Setup()
    {
        _crowd = new Crowd(options => options.Groups[Group] = new()
        {
            HistoryMessages = History, HistoryBytes = 1 << 24, HistoryAge = Timeout.InfiniteTimeSpan,
        });
        for (var i = 0; i < 2 * History; i++) _crowd.Broadcaster.Publish(new(new byte[100], MessageType.Binary), Recipients.Group(Group));
        _joiners = [.. Enumerable.Range(0, Joiners).Select(_ => _crowd.Connect("/home"))];
    }

    [GlobalCleanup]
    public void Cleanup() => _crowd.Dispose();

    [IterationCleanup]
    public void Leave()
    {
        foreach (var joiner in _joiners) joiner.Leave(Group);
    }

    [Benchmark(OperationsPerInvoke = Joiners * History)]
    public void Replay()
    {
        foreach (var joiner in _joiners) joiner.Join(Group, Middleware.Replay.Last(History));
        _crowd.AwaitDeliveries((long)Joiners * History);
    }
}
