using System.Diagnostics;

namespace Broadcast.Redis.Benchmarks;

/// <summary>How long a message takes from the publish on one node until another has it, at rates that everything can bear.</summary>
static class Hop
{
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    public static async Task RunAsync(RedisServer redis, Settings settings)
    {
        Way[] ways =
        [
            await RedisWay.CreateAsync(redis.Configuration, 1),
            await SeamWay.CreateAsync(redis.Configuration, 1),
            await BroadcastWay.CreateAsync(redis.Configuration, 1),
            await BroadcastWay.CreateAsync(null, 1),
            await SignalRWay.CreateAsync(redis.Configuration, 1),
            await SignalRWay.CreateAsync(null, 1),
        ];
        Console.WriteLine("""

            One publisher, at a fixed rate whether or not it is kept up with; one receiver; 120 bytes. The clock starts when a message is due, or when the
            publishing thread has slept until it is, so that what a publish holds up counts and what the system oversleeps does not. It ends in the handler,
            in OnMessage, or in the WebSocket client. All nodes and clients are in this process; Redis is in another.
            """);
        foreach (var rate in settings.Rates)
        {
            var table = new Table($"{rate:N0} messages a second: microseconds", "from, to", "p50", "p99", "p99.9");
            var added = new Table($"{rate:N0} messages a second, added by the backplane: the percentile with it, less that without, of the same round: microseconds", "", "p50", "p99");
            for (var round = 0; round <= settings.Rounds; round++)
            {
                var figures = new double[ways.Length][];
                for (var i = 0; i < ways.Length; i++)
                {
                    var latencies = await MeasureAsync(ways[i], rate, settings.Duration);
                    figures[i] = [latencies.Percentile(50), latencies.Percentile(99), latencies.Percentile(99.9)];
                    if (round == 0) continue;
                    table.Add(ways[i].Name, "p50", figures[i][0]);
                    table.Add(ways[i].Name, "p99", figures[i][1]);
                    table.Add(ways[i].Name, "p99.9", figures[i][2]);
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

        foreach (var way in ways) await way.DisposeAsync();
    }

    static async Task<Latencies> MeasureAsync(Way way, int rate, TimeSpan duration)
    {
        var (latencies, count) = (new Latencies(), (int)(rate * duration.TotalSeconds));
        way.Received = latencies.Record;
        Exception? failure = null;
        await Pace.RunAsync(rate, count, stamp =>
        {
            var publishing = way.PublishAsync(0, stamp);
            if (!publishing.IsCompletedSuccessfully) _ = WatchAsync(publishing);
        });
        await AwaitAsync(way, () => failure is not null || latencies.Count >= count, () => $"{latencies.Count} of {count} have come");
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

    /// <summary>Looks each millisecond, so that waiting costs nothing.</summary>
    public static async Task AwaitAsync(Way way, Func<bool> condition, Func<string> state)
    {
        for (var start = Stopwatch.GetTimestamp(); !condition(); await Task.Delay(1))
        {
            if (Stopwatch.GetElapsedTime(start) > Patience) throw new InvalidOperationException($"{way.Name}: {state()}.");
        }
    }
}
