namespace Broadcast.Redis.Benchmarks;

/// <summary>Measures the costs of Redis and of a node while no messages are published.</summary>
static class Idle
{
    const string Calls = "commands/s", Cpu = "CPU of Redis, ms/s", Node = "CPU of the node, ms/s", In = "to Redis, bytes/s", Out = "from Redis, bytes/s",
        Memory = "memory of Redis, MB", NodeMemory = "memory of the node, MB";

    static readonly (int Groups, int Connections)[] Rows = [(0, 0), (1, 1), (1, 1000), (100, 1000), (1000, 1000)];

    public static async Task RunAsync(RedisServer redis, Settings settings)
    {
        Console.WriteLine($"""

            One node runs in a separate process and has WebSocket clients in groups. Each row takes {settings.Duration.TotalSeconds} seconds. Redis counts a script and each command that the script calls.
            Every 2 seconds (CheckInterval), the node sends two commands for each group and for its inbox. Every 4 seconds, the node renews its heartbeat.
            """);
        var table = new Table("No messages", "groups, connections", Calls, Cpu, Node, In, Out, Memory, NodeMemory);
        await AddAsync(table, "no node", redis, null, settings.Duration);
        await using var node = await NodeProcess.StartAsync(redis);
        for (var round = 0; round <= settings.Rounds; round++)
        {
            foreach (var (groups, connections) in Rows)
            {
                var clients = Enumerable.Range(0, connections).Select(static _ => new Client(static (_, _) => { })).ToArray();
                for (var i = 0; i < connections; i++) await clients[i].ConnectAsync(new(node.Uri, $"/rooms/{i % groups}"));
                // Wait until the node has written all members, and until the fast checks after the connect have ended.
                await Task.Delay(TimeSpan.FromSeconds(4));
                if (round > 0) await AddAsync(table, $"{groups}, {connections}", redis, node, settings.Duration);
                foreach (var client in clients) await client.DisposeAsync();
                await Task.Delay(TimeSpan.FromSeconds(1));
            }
        }

        table.Print();
    }

    static async Task AddAsync(Table table, string row, RedisServer redis, NodeProcess? node, TimeSpan duration)
    {
        var (before, cpu) = (await redis.ReadStatisticsAsync(), node?.Cpu);
        await Task.Delay(duration);
        var (after, spent) = (await redis.ReadStatisticsAsync(), node?.Cpu - cpu);
        var seconds = duration.TotalSeconds;
        table.Add(row, Calls, CommandsPerSecond(after) - CommandsPerSecond(before));
        table.Add(row, Cpu, (after.Cpu - before.Cpu).TotalMilliseconds / seconds);
        table.Add(row, In, (after.In - before.In) / seconds);
        table.Add(row, Out, (after.Out - before.Out) / seconds);
        table.Add(row, Memory, after.Memory / 1_000_000);
        if (node is null || spent is not { } own) return;
        table.Add(row, Node, own.TotalMilliseconds / seconds);
        table.Add(row, NodeMemory, node.Memory / 1_000_000.0);

        double CommandsPerSecond(RedisStatistics statistics) => statistics.Calls.Where(static call => call.Key != "info").Sum(static call => call.Value) / seconds;
    }
}
