using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Diagnostics;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>
/// Publishes 100 updates per second to 200 connections for one minute. The updates have 50 keys. A quarter of the
/// connections reads 1 KB per second.
/// By default, the test runs for six seconds at four times this rate.
/// </summary>
[Collection(nameof(NotParallelCollection))]
public sealed class LatestValueTests
{
    const int Keys = 50, Size = 100, Connections = 200, Slow = 50;

    // The maximum number of messages by which the publisher may be ahead of the slowest fast reader.
    const int Ahead = 100;

    static readonly int Pace = Effort.Factor < 5 ? 4 : 1;
    static readonly TimeSpan Duration = Effort.Factor < 5 ? TimeSpan.FromSeconds(6) : TimeSpan.FromMinutes(1);

    // The maximum number of outdated messages that a slow reader may still receive. These messages are in the receive
    // window of the client and in the buffers of the system, plus one message of each key. The factor 2 covers overhead
    // that the system counts differently. The limit does not depend on the load.
    const int Oldest = 2 * (4096 + 4096 + (Keys * (Size + 2))) / (Size + 2);

    readonly ConcurrentDictionary<int, long> _publishedAt = new();
    volatile int _published;

    [Fact]
    public async Task Conflate_SlowReaders_GetRecentValuesWithoutMemoryGrowth()
    {
        await using var app = await BroadcastApp.StartAsync(
            options: options =>
            {
                options.Groups["/ws"] = new() { SlowConsumer = SlowConsumer.Conflate };
                // Disable pings, because these clients do not answer pings.
                options.KeepAliveInterval = Timeout.InfiniteTimeSpan;
            },
            choosesSends: true);
        var clients = new List<RawClient>();
        for (var i = 0; i < Connections; i++) clients.Add(i < Slow ? await Stall.OpenAsync(app) : await RawClient.OpenAsync(app));
        using var stop = new CancellationTokenSource();
        var slow = clients.Take(Slow).Select(client => Task.Run(() => ReadSlowlyAsync(client, stop.Token))).ToArray();
        var heard = new int[Connections - Slow];
        var fast = clients.Skip(Slow).Select((client, i) => Task.Run(() => ReadAllAsync(client, count => Volatile.Write(ref heard[i], count)))).ToArray();

        var started = Stopwatch.GetTimestamp();
        var memory = new List<long>();
        while (Stopwatch.GetElapsedTime(started) is var elapsed && elapsed < Duration)
        {
            // On a busy machine, the fast readers can fall behind. The publisher waits for the fast readers, so that
            // the server does not treat them as slow.
            while (_published < elapsed.TotalSeconds * 100 * Pace && _published - heard.Min() < Ahead) await PublishAsync(app);
            if (elapsed > Duration * (memory.Count + 1) / 6) memory.Add(GetUsedBytes());
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }

        var last = _published;
        await app.Broadcaster.PublishAsync(Make(-1), Recipients.Group("/ws"), cancellationToken: TestContext.Current.CancellationToken);
        Assert.All(await Task.WhenAll(fast), got => Assert.Equal(last, got));
        await stop.CancelAsync();
        var oldest = (await Task.WhenAll(slow)).Max();
        TestContext.Current.SendDiagnosticMessage($"{last} updates; slow readers' oldest value was replaced {oldest} messages before; memory {string.Join(", ", memory.Select(bytes => bytes / 1024))} KB");
        Assert.InRange(oldest, 0, Oldest);
        Assert.InRange(memory[^1] - memory[1], long.MinValue, 4 * 1024 * 1024);
        Assert.Equal(Connections, app.Registry.Count);
        foreach (var client in clients) await client.DisposeAsync();
    }

    async Task PublishAsync(BroadcastApp app)
    {
        var number = _published;
        _publishedAt[number] = Stopwatch.GetTimestamp();
        var message = new Message(Make(number), MessageType.Binary) { Key = $"{number % Keys}" };
        await app.Broadcaster.PublishAsync(message, Recipients.Group("/ws"), cancellationToken: TestContext.Current.CancellationToken);
        _published = number + 1;
    }

    /// <summary>
    /// Returns the bytes of all objects at the end of a garbage collection. GC.GetTotalMemory would also count the objects
    /// that the clients create after the collection. On a busy machine, these objects can have several megabytes.
    /// </summary>
    static long GetUsedBytes()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        var used = 0L;
        foreach (var generation in GC.GetGCMemoryInfo(GCKind.FullBlocking).GenerationInfo)
            used += generation.SizeAfterBytes - generation.FragmentationAfterBytes;
        return used;
    }

    static byte[] Make(int number)
    {
        var payload = new byte[Size];
        BinaryPrimitives.WriteInt32BigEndian(payload, number);
        return payload;
    }

    static async Task<int> ReadNumberAsync(RawClient client)
    {
        while (true)
        {
            var frame = await client.ReadFrameAsync();
            if (frame.Opcode == ClientFrame.Binary) return BinaryPrimitives.ReadInt32BigEndian(frame.Payload);
        }
    }

    /// <summary>Returns the number of received messages. Fails on a gap.</summary>
    static async Task<int> ReadAllAsync(RawClient client, Action<int> onHeard)
    {
        for (var expected = 0; ; expected++)
        {
            onHeard(expected);
            var number = await ReadNumberAsync(client);
            if (number < 0) return expected;
            Assert.Equal(expected, number);
        }
    }

    /// <summary>
    /// Returns the maximum number of messages that a client read between the replacement of a value and the arrival of
    /// this value.
    /// </summary>
    async Task<int> ReadSlowlyAsync(RawClient client, CancellationToken stop)
    {
        var (oldest, last, reads) = (0, -1, new List<long>());
        while (!stop.IsCancellationRequested)
        {
            var number = await ReadNumberAsync(client);
            if (number < 0) break;
            Assert.InRange(number, last + 1, int.MaxValue);
            last = number;
            if (_publishedAt.TryGetValue(number + Keys, out var replacedAt))
            {
                var before = reads.BinarySearch(replacedAt);
                oldest = Math.Max(oldest, reads.Count - (before < 0 ? ~before : before));
            }

            reads.Add(Stopwatch.GetTimestamp());
            await Task.Delay(TimeSpan.FromSeconds((Size + 2) / (1024.0 * Pace)), CancellationToken.None);
        }

        return oldest;
    }
}
