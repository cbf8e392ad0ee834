using System.Diagnostics;

namespace Broadcast.Redis.Benchmarks;

/// <summary>
/// Measures the latency from a publish on one node to the receiver on another node, at rates below saturation.
/// </summary>
static class Hop
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    public static async Task RunAsync(RedisServer redis, Settings settings)
    {
        MessagePath[] paths =
        [
            await RedisPath.CreateAsync(redis.Configuration, 1),
            await BackplanePath.CreateAsync(redis.Configuration, 1),
            await BroadcastPath.CreateAsync(redis.Configuration, 1),
            await BroadcastPath.CreateAsync(null, 1),
            await SignalRPath.CreateAsync(redis.Configuration, 1),
            await SignalRPath.CreateAsync(null, 1),
        ];
        Console.WriteLine("""

            One publisher sends messages of 120 bytes to one receiver, at a fixed rate. The latency starts when a message is due, or when the publishing thread wakes up later.
            So the latency includes delays by earlier publishes, but not late wake-ups by the system. The latency ends in the handler, in OnMessage, or in the client.
            All nodes and clients run in this process. Redis runs in another process.
            """);
        foreach (var rate in settings.Rates)
        {
            var table = new Table($"{rate:N0} messages per second, in microseconds", "from, to", "p50", "p99", "p99.9");
            var added = new Table($"{rate:N0} messages per second, latency of the backplane in microseconds: the percentile with it minus the percentile without it", "", "p50", "p99");
            for (var round = 0; round <= settings.Rounds; round++)
            {
                var figures = new double[paths.Length][];
                for (var i = 0; i < paths.Length; i++)
                {
                    var latencies = await MeasureAsync(paths[i], rate, settings.Duration);
                    figures[i] = [latencies.Percentile(50), latencies.Percentile(99), latencies.Percentile(99.9)];
                    if (round == 0) continue;
                    table.Add(paths[i].Name, "p50", figures[i][0]);
                    table.Add(paths[i].Name, "p99", figures[i][1]);
                    table.Add(paths[i].Name, "p99.9", figures[i][2]);
                }

                if (round == 0) continue;
                AddDifference("ours", figures[2], figures[3]);
                AddDifference("SignalR", figures[4], figures[5]);
            }

            table.Print();
            added.Print();

            void AddDifference(string row, double[] with, double[] without)
            {
                added.Add(row, "p50", with[0] - without[0]);
                added.Add(row, "p99", with[1] - without[1]);
            }
        }

        foreach (var path in paths) await path.DisposeAsync();
    }

    static async Task<Latencies> MeasureAsync(MessagePath path, int rate, TimeSpan duration)
    {
        var (latencies, count) = (new Latencies(), (int)(rate * duration.TotalSeconds));
        path.Received = latencies.Record;
        Exception? failure = null;
        await Pace.RunAsync(rate, count, stamp =>
        {
            var publishing = path.PublishAsync(0, stamp);
            if (!publishing.IsCompletedSuccessfully) _ = WatchAsync(publishing);
        });
        await WaitUntilAsync(path, () => failure is not null || latencies.Count >= count, () => $"Received only {latencies.Count} of {count} messages");
        if (failure is not null) throw failure;
        return latencies;

        async Task WatchAsync(ValueTask publishing)
        {
            try
            {
                await publishing;
            }
            catch (Exception exception)
            {
                failure = exception;
            }
        }
    }

    /// <summary>Checks the condition every millisecond. Between the checks, the wait needs no CPU time.</summary>
    public static async Task WaitUntilAsync(MessagePath path, Func<bool> condition, Func<string> state)
    {
        for (var start = Stopwatch.GetTimestamp(); !condition(); await Task.Delay(1))
        {
            if (Stopwatch.GetElapsedTime(start) > Limit) throw new InvalidOperationException($"{path.Name}: {state()}.");
        }
    }
}
