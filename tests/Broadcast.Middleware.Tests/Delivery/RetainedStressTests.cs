using System.Collections.Concurrent;
using System.Net.WebSockets;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Stress test of clients that join while other threads publish new values.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class RetainedStressTests
{
    const string Name = "/g";
    const int Publishers = 2;

    /// <summary>
    /// Tests that no message is missing between the retained values and the live messages. After the first version of a
    /// key, a client must receive every later version.
    /// </summary>
    [Theory]
    [InlineData(20, 8)]
    [InlineData(500, 100)]
    public async Task Join_WhileOtherThreadsPublish_ReceivesEveryVersionAfterFirst(int keys, int size)
    {
        var clients = 60 * Effort.Factor;
        using var broadcaster = new TestEngine(pumps: 0, maxBacklog: 1 << 29, configure: static options =>
            options.Groups[Name] = new() { RetainLatestPerKey = true });
        var joined = 0;
        var last = new ConcurrentDictionary<int, int>();
        var publishing = Task.WhenAll(Enumerable.Range(0, Publishers).Select(publisher => TestThread.Start(() => Publish(publisher))));
        await Eventually.True(() => last.Count == Publishers * keys);
        var received = new List<(Connection Connection, ConcurrentQueue<(int Key, int Version)> Got)>();
        for (; joined < clients; Interlocked.Increment(ref joined))
        {
            var sink = new VersionSink();
            var connection = broadcaster.Connect(null, "/home", sink);
            Assert.True(connection.Join(Name).Joined);
            received.Add((connection, sink.Got));
        }

        await publishing.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        foreach (var (_, got) in received)
        {
            await Eventually.True(() => got.Select(message => message.Key).Distinct().Count() == Publishers * keys
                && got.GroupBy(message => message.Key).All(versions => versions.Max(message => message.Version) == last[versions.Key]));
            foreach (var versions in got.GroupBy(message => message.Key, message => message.Version))
                Assert.Equal(Enumerable.Range(versions.First(), versions.Count()), versions);
        }

        foreach (var (connection, _) in received) await broadcaster.DisconnectAsync(connection);

        void Publish(int publisher)
        {
            var payload = new byte[size];
            for (var version = 1; Volatile.Read(ref joined) < clients || version <= 3; version++)
            {
                for (var key = publisher; key < Publishers * keys; key += Publishers)
                {
                    BitConverter.TryWriteBytes(payload, key);
                    BitConverter.TryWriteBytes(payload.AsSpan(4), version);
                    broadcaster.Publish(new(payload, MessageType.Binary) { Key = $"{key}" }, Recipients.Group(Name));
                    last[key] = version;
                }

                Thread.Yield();
            }
        }
    }

    /// <summary>Records the keys and versions of messages.</summary>
    sealed class VersionSink : Sink
    {
        public ConcurrentQueue<(int Key, int Version)> Got { get; } = new();

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
        {
            FrameParser.Read(frames.Span, (_, payload) => Got.Enqueue((BitConverter.ToInt32(payload), BitConverter.ToInt32(payload[4..]))));
            return default;
        }

        public override Task CloseAsync(WebSocketCloseStatus status, string? reason) => Task.CompletedTask;
    }
}
