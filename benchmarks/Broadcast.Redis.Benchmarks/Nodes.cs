using System.Diagnostics;
using System.Globalization;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Redis.Benchmarks;

/// <summary>What a message costs Redis, and each of several nodes: for the model in docs/scaling.md.</summary>
static class Nodes
{
    const int Depth = 64;
    const string Group = "/rooms/0";
    const string Messages = "messages/s", Deliveries = "deliveries/s", Median = "p50, ms", High = "p99, ms", Redis = "CPU of Redis, µs/message", Node = "CPU of a node, µs/message",
        In = "to Redis, bytes/message", Out = "from Redis, bytes/message", Memory = "memory of Redis, MB", Calls = "PUBLISHes/message";

    static readonly int[] Counts = [1, 2, 4];

    public static async Task RunAsync(RedisServer redis, Settings settings)
    {
        var nodes = await Task.WhenAll(Enumerable.Range(0, Counts.Max()).Select(_ => NodeProcess.StartAsync(redis)));
        await using var publisher = await Hosts.StartBroadcastAsync(redis.Configuration, NodeProcess.Prefix);
        var (rate, connections) = (settings.Rates[0], settings.Connections);
        Console.WriteLine($"""

            One publisher, a node without clients, in this process, as are all {connections} WebSocket clients; they are spread over 1, 2 or 4 nodes, which are processes.
            One group, 120 bytes. On {Environment.ProcessorCount} processors, which Redis and the clients share, more nodes are not faster: look at the CPU per message, whose microseconds are seconds per million.
            """);
        string[] columns = [Messages, Deliveries, Median, High, Redis, Node, In, Out, Memory, Calls];
        var full = new Table($"{Depth} messages under way, each until all clients have it", "nodes", columns);
        var paced = new Table($"{rate:N0} messages a second", "nodes", columns);
        for (var round = 0; round <= settings.Rounds; round++)
        {
            foreach (var count in Counts)
            {
                await using var crowd = await Crowd.ConnectAsync(nodes[..count], connections, publisher);
                await MeasureAsync(full, () => crowd.PublishAllAsync(settings.Duration));
                await MeasureAsync(paced, () => crowd.PublishPacedAsync(rate, settings.Duration));

                async Task MeasureAsync(Table table, Func<Task<int>> publish)
                {
                    crowd.Latencies = new();
                    var (before, cpu, start) = (await redis.LookAsync(), CpuOf(count), Stopwatch.GetTimestamp());
                    var published = await publish();
                    var elapsed = Stopwatch.GetElapsedTime(start).TotalSeconds;
                    cpu = CpuOf(count) - cpu;
                    var after = await redis.LookAsync();
                    if (crowd.Latencies.Count != (long)published * connections) throw new InvalidOperationException($"{published} were published, and {crowd.Latencies.Count} came.");
                    if (round == 0) return;
                    var row = count.ToString(CultureInfo.InvariantCulture);
                    table.Add(row, Messages, published / elapsed);
                    table.Add(row, Deliveries, published * connections / elapsed);
                    table.Add(row, Median, crowd.Latencies.Percentile(50) / 1000);
                    table.Add(row, High, crowd.Latencies.Percentile(99) / 1000);
                    table.Add(row, Redis, (after.Cpu - before.Cpu).TotalMicroseconds / published);
                    table.Add(row, Node, cpu.TotalMicroseconds / count / published);
                    table.Add(row, In, (after.In - before.In) / published);
                    table.Add(row, Out, (after.Out - before.Out) / published);
                    table.Add(row, Memory, after.Memory / 1_000_000);
                    table.Add(row, Calls, (double)(after.Calls["publish"] - before.Calls["publish"]) / published);
                }
            }
        }

        foreach (var table in (Table[])[full, paced])
        {
            table.Print();
            Fit(table, Redis, static count => count, "Redis", "nodes");
            Fit(table, Node, count => (double)connections / count, "A node", "its connections");
        }

        await Task.WhenAll(nodes.Select(static node => node.DisposeAsync().AsTask()));

        TimeSpan CpuOf(int count) => nodes[..count].Aggregate(TimeSpan.Zero, static (sum, node) => sum + node.Cpu);
    }

    /// <summary>The line through the medians that is nearest to them.</summary>
    static void Fit(Table table, string column, Func<int, double> of, string what, string times)
    {
        var points = Counts.Select(count => (X: of(count), Y: table.Median(count.ToString(CultureInfo.InvariantCulture), column))).ToArray();
        var (x, y) = (points.Average(static point => point.X), points.Average(static point => point.Y));
        var slope = points.Sum(point => (point.X - x) * (point.Y - y)) / points.Sum(point => (point.X - x) * (point.X - x));
        Console.WriteLine($"{what}: {y - (slope * x):F1} + {slope:0.##} x {times} µs of CPU per message");
    }

    /// <summary>The clients, and who publishes to them.</summary>
    sealed class Crowd : IAsyncDisposable
    {
        readonly Client[] _clients;
        readonly IBroadcaster _publisher;
        readonly Slot[] _slots = [.. Enumerable.Range(0, Depth).Select(static _ => new Slot())];
        readonly HashSet<int> _heard = [];

        Crowd(int connections, WebApplication publisher)
        {
            _publisher = publisher.Services.GetRequiredService<IBroadcaster>();
            _clients = [.. Enumerable.Range(0, connections).Select(i => new Client((stamp, slot) => Receive(i, stamp, slot)))];
        }

        public Latencies Latencies { get; set; } = new();

        public static async Task<Crowd> ConnectAsync(NodeProcess[] nodes, int connections, WebApplication publisher)
        {
            var crowd = new Crowd(connections, publisher);
            for (var i = 0; i < connections; i++) await crowd._clients[i].ConnectAsync(new(nodes[i % nodes.Length].Uri, Group));
            while (true)
            {
                // The first message may come before the last of them has joined.
                await crowd.PublishAsync(0, 0);
                await Task.Delay(20);
                lock (crowd._heard)
                {
                    if (crowd._heard.Count == connections) return crowd;
                }
            }
        }

        /// <summary>Each as soon as one before has come everywhere.</summary>
        public async Task<int> PublishAllAsync(TimeSpan duration)
        {
            var start = Stopwatch.GetTimestamp();
            return (await Task.WhenAll(Enumerable.Range(0, Depth).Select(slot => Task.Run(() => PublishAsync(slot))))).Sum();

            async Task<int> PublishAsync(int slot)
            {
                var count = 0;
                for (; Stopwatch.GetElapsedTime(start) < duration; count++)
                {
                    var arrival = _slots[slot].Expect(_clients.Length);
                    await this.PublishAsync(Stopwatch.GetTimestamp(), slot);
                    await arrival.WaitAsync(TimeSpan.FromSeconds(30));
                }

                return count;
            }
        }

        public async Task<int> PublishPacedAsync(int rate, TimeSpan duration)
        {
            var count = (int)(rate * duration.TotalSeconds);
            await Pace.RunAsync(rate, count, stamp => _ = PublishAsync(stamp, -1));
            for (var start = Stopwatch.GetTimestamp(); Latencies.Count < (long)count * _clients.Length; await Task.Delay(1))
            {
                if (Stopwatch.GetElapsedTime(start) > TimeSpan.FromSeconds(30)) throw new InvalidOperationException("Messages are missing.");
            }

            return count;
        }

        public async ValueTask DisposeAsync()
        {
            foreach (var client in _clients) await client.DisposeAsync();
        }

        async Task PublishAsync(long stamp, int slot) => await _publisher.PublishAsync(new(Payload.Bytes(stamp, slot), MessageType.Text), Recipients.Group(Group));

        void Receive(int client, long stamp, int slot)
        {
            if (stamp == 0)
            {
                lock (_heard) _heard.Add(client);
                return;
            }

            Latencies.Record(stamp);
            if (slot >= 0) _slots[slot].Arrived();
        }
    }

    /// <summary>One message that is under way.</summary>
    sealed class Slot
    {
        TaskCompletionSource _everywhere = new();
        int _left;

        public Task Expect(int arrivals)
        {
            Volatile.Write(ref _left, arrivals);
            return (_everywhere = new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }

        public void Arrived()
        {
            if (Interlocked.Decrement(ref _left) == 0) _everywhere.SetResult();
        }
    }
}
