using System.Diagnostics;

namespace Broadcast.Redis.Benchmarks;

/// <summary>Measures the maximum number of messages per second through one Redis server.</summary>
static class Publishes
{
    const int Publishers = 8, Depth = 64;

    public static async Task RunAsync(RedisServer redis, Settings settings)
    {
        Console.WriteLine($"""

            One node has {Publishers} publishers. Each publisher has {Depth} concurrent publishes of 120 bytes. Another node, or one WebSocket client per group, receives all messages.
            The measurement ends after the last message has arrived. A publish of this library ends when Redis has numbered and stored the message.
            Any other publish ends when Redis has sent the message to its subscribers. The CPU time of the nodes includes both nodes and the clients. Both run in this process.
            """);
        foreach (var groups in (int[])[1, 100])
        {
            MessagePath[] paths =
            [
                await RedisPath.CreateAsync(redis.Configuration, groups),
                await BackplanePath.CreateAsync(redis.Configuration, groups),
                await BroadcastPath.CreateAsync(redis.Configuration, groups),
                await SignalRPath.CreateAsync(redis.Configuration, groups),
            ];
            const string Rate = "messages/s", OfSignalR = "of SignalR's", Redis = "CPU of Redis, µs/message", Nodes = "CPU of the nodes, µs/message", Bytes = "allocated, bytes/message", Calls = "PUBLISHes/message";
            var table = new Table(groups == 1 ? "One group" : $"{groups} groups in rotation", "from, to", Rate, OfSignalR, Redis, Nodes, Bytes, Calls);
            for (var round = 0; round <= settings.Rounds; round++)
            {
                var figures = new List<Figures>();
                foreach (var path in paths) figures.Add(await MeasureAsync(redis, path, settings.Duration));
                if (round == 0) continue;
                foreach (var (path, of) in paths.Zip(figures))
                {
                    table.Add(path.Name, Rate, of.Rate);
                    table.Add(path.Name, OfSignalR, of.Rate / figures[^1].Rate);
                    table.Add(path.Name, Redis, of.Redis);
                    table.Add(path.Name, Nodes, of.Nodes);
                    table.Add(path.Name, Bytes, of.Bytes);
                    table.Add(path.Name, Calls, of.Calls);
                }
            }

            table.Print();
            foreach (var path in paths) await path.DisposeAsync();
        }
    }

    static async Task<Figures> MeasureAsync(RedisServer redis, MessagePath path, TimeSpan duration)
    {
        var (received, published) = (0L, 0L);
        path.Received = _ => Interlocked.Increment(ref received);
        var (before, cpu, bytes) = (await redis.ReadStatisticsAsync(), Environment.CpuUsage.TotalTime, GC.GetTotalAllocatedBytes());
        var start = Stopwatch.GetTimestamp();
        await Task.WhenAll(Enumerable.Range(0, Publishers * Depth).Select(i => Task.Run(() => PublishAsync(i))));
        await Hop.WaitUntilAsync(path, () => Volatile.Read(ref received) >= published, () => $"Received only {received} of {published} messages");
        var elapsed = Stopwatch.GetElapsedTime(start);
        (cpu, bytes) = (Environment.CpuUsage.TotalTime - cpu, GC.GetTotalAllocatedBytes() - bytes);
        var after = await redis.ReadStatisticsAsync();
        if (received != published) throw new InvalidOperationException($"{path.Name}: received {received} of {published} messages.");
        return new(
            published / elapsed.TotalSeconds,
            (after.Cpu - before.Cpu).TotalMicroseconds / published,
            cpu.TotalMicroseconds / published,
            (double)bytes / published,
            (double)(after.Calls["publish"] - before.Calls["publish"]) / published);

        async Task PublishAsync(int group)
        {
            var count = 0;
            for (; Stopwatch.GetElapsedTime(start) < duration; count++) await path.PublishAsync((group + count) % path.Groups, 1);
            Interlocked.Add(ref published, count);
        }
    }

    readonly record struct Figures(double Rate, double Redis, double Nodes, double Bytes, double Calls);
}
