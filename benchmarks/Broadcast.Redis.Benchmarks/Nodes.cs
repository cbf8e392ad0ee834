using System.Diagnostics;
using System.Globalization;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Redis.Benchmarks;

/// <summary>Measures the CPU time per message of Redis and of each node, for the model in docs/internals/scaling.md.</summary>
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

            The publisher is a node without clients. The publisher and all {connections} WebSocket clients run in this process. The clients connect to 1, 2 or 4 nodes in separate processes.
            One group, 120 bytes. Redis, the nodes and the clients share {Environment.ProcessorCount} processors, so more nodes are not faster. Compare the CPU time per message.
            """);
        string[] columns = [Messages, Deliveries, Median, High, Redis, Node, In, Out, Memory, Calls];
        var full = new Table($"{Depth} concurrent messages, each until all clients have received it", "nodes", columns);
        var paced = new Table($"{rate:N0} messages per second", "nodes", columns);
        for (var round = 0; round <= settings.Rounds; round++)
        {
            foreach (var count in Counts)
            {
                await using var clientSet = await ClientSet.ConnectAsync(nodes[..count], connections, publisher);
                await MeasureAsync(full, () => clientSet.PublishAllAsync(settings.Duration));
                await MeasureAsync(paced, () => clientSet.PublishPacedAsync(rate, settings.Duration));

                async Task MeasureAsync(Table table, Func<Task<int>> publish)
                {
                    clientSet.Latencies = new();
                    var (before, cpu, start) = (await redis.ReadStatisticsAsync(), CpuOf(count), Stopwatch.GetTimestamp());
                    var published = await publish();
                    var elapsed = Stopwatch.GetElapsedTime(start).TotalSeconds;
                    cpu = CpuOf(count) - cpu;
                    var after = await redis.ReadStatisticsAsync();
                    if (clientSet.Latencies.Count != (long)published * connections) throw new InvalidOperationException($"Received {clientSet.Latencies.Count} messages. Expected {(long)published * connections}.");
                    if (round == 0) return;
                    var row = count.ToString(CultureInfo.InvariantCulture);
                    table.Add(row, Messages, published / elapsed);
                    table.Add(row, Deliveries, published * connections / elapsed);
                    table.Add(row, Median, clientSet.Latencies.Percentile(50) / 1000);
                    table.Add(row, High, clientSet.Latencies.Percentile(99) / 1000);
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

    /// <summary>Fits a line to the medians by least squares, and prints the line.</summary>
    static void Fit(Table table, string column, Func<int, double> of, string what, string times)
    {
        var points = Counts.Select(count => (X: of(count), Y: table.Median(count.ToString(CultureInfo.InvariantCulture), column))).ToArray();
        var (x, y) = (points.Average(static point => point.X), points.Average(static point => point.Y));
        var slope = points.Sum(point => (point.X - x) * (point.Y - y)) / points.Sum(point => (point.X - x) * (point.X - x));
        Console.WriteLine($"{what}: {y - (slope * x):F1} + {slope:0.##} x {times} µs of CPU per message");
    }

    /// <summary>The WebSocket clients, and the publisher of their messages.</summary>
    sealed class ClientSet : IAsyncDisposable
    {
        readonly Client[] _clients;
        readonly IBroadcaster _publisher;
        readonly Slot[] _slots = [.. Enumerable.Range(0, Depth).Select(static _ => new Slot())];
        readonly HashSet<int> _ready = [];

        ClientSet(int connections, WebApplication publisher)
        {
            _publisher = publisher.Services.GetRequiredService<IBroadcaster>();
            _clients = [.. Enumerable.Range(0, connections).Select(i => new Client((stamp, slot) => Receive(i, stamp, slot)))];
        }

        public Latencies Latencies { get; set; } = new();

        public static async Task<ClientSet> ConnectAsync(NodeProcess[] nodes, int connections, WebApplication publisher)
        {
            var clientSet = new ClientSet(connections, publisher);
            for (var i = 0; i < connections; i++) await clientSet._clients[i].ConnectAsync(new(nodes[i % nodes.Length].Uri, Group));
            while (true)
            {
                // The first message may arrive before the last client has joined. So publish until every client has
                // received a message.
                await clientSet.PublishAsync(0, 0);
                await Task.Delay(20);
                lock (clientSet._ready)
                {
                    if (clientSet._ready.Count == connections) return clientSet;
                }
            }
        }

        /// <summary>Each slot publishes its next message as soon as all clients have received its previous message.</summary>
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
                if (Stopwatch.GetElapsedTime(start) > TimeSpan.FromSeconds(30)) throw new InvalidOperationException("Not all messages have arrived after 30 seconds.");
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
                lock (_ready) _ready.Add(client);
                return;
            }

            Latencies.Record(stamp);
            if (slot >= 0) _slots[slot].Arrived();
        }
    }

    /// <summary>One message that not all clients have received yet.</summary>
    sealed class Slot
    {
        TaskCompletionSource _allReceived = new();
        int _pendingArrivals;

        public Task Expect(int arrivals)
        {
            Volatile.Write(ref _pendingArrivals, arrivals);
            return (_allReceived = new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }

        public void Arrived()
        {
            if (Interlocked.Decrement(ref _pendingArrivals) == 0) _allReceived.SetResult();
        }
    }
}
