using System.Diagnostics;

namespace Broadcast.Redis.Benchmarks;

/// <summary>How many messages a second go through one Redis, when everybody publishes the next one as soon as the one before is done.</summary>
static class Publishes
{
    const int Publishers = 8, Depth = 64;

    public static async Task RunAsync(RedisServer redis, Settings settings)
    {
        Console.WriteLine($"""

            {Publishers} publishers on one node, each with {Depth} publishes under way and awaited; one other node, or its WebSocket clients, one in each group, has to get
            all of them, and the time ends when it has. 120 bytes. A publish of ours is over when Redis has numbered and kept it, of the others when Redis has
            handed it out. The CPU of the nodes is that of both and of the clients, which are all in this process.
            """);
        foreach (var groups in (int[])[1, 100])
        {
            Way[] ways =
            [
                await RedisWay.CreateAsync(redis.Configuration, groups),
                await SeamWay.CreateAsync(redis.Configuration, groups),
                await BroadcastWay.CreateAsync(redis.Configuration, groups),
                await SignalRWay.CreateAsync(redis.Configuration, groups),
            ];
            const string Rate = "messages/s", OfSignalR = "of SignalR's", Redis = "CPU of Redis, µs/message", Nodes = "CPU of the nodes, µs/message", Bytes = "allocated, bytes/message", Calls = "PUBLISHes/message";
            var table = new Table(groups == 1 ? "One group" : $"{groups} groups, in turn", "from, to", Rate, OfSignalR, Redis, Nodes, Bytes, Calls);
            for (var round = 0; round <= settings.Rounds; round++)
            {
                var figures = new List<Figures>();
                foreach (var way in ways) figures.Add(await MeasureAsync(redis, way, settings.Duration));
                if (round == 0) continue;
                foreach (var (way, of) in ways.Zip(figures))
                {
                    table.Add(way.Name, Rate, of.Rate);
                    table.Add(way.Name, OfSignalR, of.Rate / figures[^1].Rate);
                    table.Add(way.Name, Redis, of.Redis);
                    table.Add(way.Name, Nodes, of.Nodes);
                    table.Add(way.Name, Bytes, of.Bytes);
                    table.Add(way.Name, Calls, of.Calls);
                }
            }

            table.Print();
            foreach (var way in ways) await way.DisposeAsync();
        }
    }

    static async Task<Figures> MeasureAsync(RedisServer redis, Way way, TimeSpan duration)
    {
        var (received, published) = (0L, 0L);
        way.Received = _ => Interlocked.Increment(ref received);
        var (before, cpu, bytes) = (await redis.LookAsync(), Environment.CpuUsage.TotalTime, GC.GetTotalAllocatedBytes());
        var start = Stopwatch.GetTimestamp();
        await Task.WhenAll(Enumerable.Range(0, Publishers * Depth).Select(i => Task.Run(() => PublishAsync(i))));
        await Hop.AwaitAsync(way, () => Volatile.Read(ref received) >= published, () => $"{received} of {published} have come");
        var elapsed = Stopwatch.GetElapsedTime(start);
        (cpu, bytes) = (Environment.CpuUsage.TotalTime - cpu, GC.GetTotalAllocatedBytes() - bytes);
        var after = await redis.LookAsync();
        if (received != published) throw new InvalidOperationException($"{way.Name}: {published} were published, and {received} came.");
        return new(
            published / elapsed.TotalSeconds,
            (after.Cpu - before.Cpu).TotalMicroseconds / published,
            cpu.TotalMicroseconds / published,
            (double)bytes / published,
            (double)(after.Calls["publish"] - before.Calls["publish"]) / published);

        async Task PublishAsync(int group)
        {
            var count = 0;
            for (; Stopwatch.GetElapsedTime(start) < duration; count++) await way.PublishAsync((group + count) % way.Groups, 1);
            Interlocked.Add(ref published, count);
        }
    }

    readonly record struct Figures(double Rate, double Redis, double Nodes, double Bytes, double Calls);
}
