using System.Collections.Concurrent;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Stress test of clients that reconnect while other threads publish.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class RecoveryStressTests
{
    const int Publishers = 3;
    const int Clients = 4;
    const string Name = "/g";
    const long ToAll = -1;

    [Theory]
    [InlineData(1_000_000)]
    [InlineData(2_000)]
    [InlineData(20)]
    public async Task Reconnect_WhileOtherThreadsPublish_RecoversAllMessagesOrReportsFailure(int kept)
    {
        var messages = 1_500 * Effort.Factor;
        using var broadcaster = new TestEngine(pumps: 0, maxBacklog: 1 << 29, configure: RecoveryHelpers.History(Name, kept, bytes: 1 << 29));
        var published = new ConcurrentDictionary<long, (Position Position, string? Excluded)>();
        var present = new string?[Clients];
        using var here = new CountdownEvent(Clients);
        var publishing = Task.WhenAll(Enumerable.Range(1, Publishers).Select(publisher => TestThread.Start(() => Publish(publisher))));
        var clients = await Task.WhenAll(Enumerable.Range(0, Clients).Select(client => Task.Run(() => ReconnectRepeatedlyAsync(client))))
            .WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        Assert.Equal(0, broadcaster.Connections.Count);

        var byOffset = published.Values.ToDictionary(entry => entry.Position.Offset, entry => entry.Excluded);
        Assert.Single(published.Values.Select(entry => entry.Position.Epoch).Distinct());
        foreach (var memberships in clients)
        {
            Position? last = null;
            foreach (var membership in memberships)
            {
                if (membership.Recovered is true) Assert.Equal(last, membership.Start);
                // The join decides atomically whether the history still contains all missed messages, so the result
                // must be exact.
                else if (last is { } lost) Assert.True(membership.Recovered is false && membership.Start.Offset - lost.Offset > kept, "The history still contained all messages.");
                var got = membership.Ids.Where(id => id != ToAll).Select(id => published[id].Position.Offset).ToList();
                var end = got.Count > 0 ? got[^1] : membership.Start.Offset;
                Assert.Equal(Offsets(membership.Start.Offset + 1, end).Where(offset => byOffset[offset] != membership.ConnectionId), got);
                last = membership.Start with { Offset = end };
            }

            Assert.Equal(Publishers * messages, last!.Value.Offset);
            Assert.Contains(memberships, membership => membership.Recovered is true || kept < Publishers * messages);
        }

        void Publish(int publisher)
        {
            // Wait until all clients have joined, so that each client misses messages.
            here.Wait(TimeSpan.FromSeconds(30));
            var random = new Random(publisher);
            var payload = new byte[8];
            for (var i = 1; i <= messages; i++)
            {
                if (i % 16 == 0)
                {
                    BitConverter.TryWriteBytes(payload, ToAll);
                    broadcaster.Publish(new(payload, MessageType.Binary), Recipients.Everyone);
                    Thread.Yield();
                }

                var id = ((long)publisher << 32) | (uint)i;
                BitConverter.TryWriteBytes(payload, id);
                // The last message of each publisher excludes no client, so that all clients end at the last offset.
                var excluded = random.Next(8) == 0 && i < messages ? Volatile.Read(ref present[random.Next(Clients)]) : null;
                var recipients = excluded is null ? Recipients.Group(Name) : Recipients.Group(Name).Except(excluded);
                published[id] = (broadcaster.Publish(new(payload, MessageType.Binary), recipients).Position!.Value, excluded);
            }
        }

        async Task<List<Membership>> ReconnectRepeatedlyAsync(int number)
        {
            var random = new Random(number);
            var memberships = new List<Membership>();
            Position? last = null;
            while (true)
            {
                var isOver = publishing.IsCompleted;
                var sink = new StressSink((Pace)random.Next(3), random.Next());
                var connection = broadcaster.Connect(null, "/home", sink);
                Volatile.Write(ref present[number], connection.Id);
                var result = connection.Join(Name, last is { } after ? Replay.After(after) : Replay.None);
                var start = result.Position!.Value;
                if (last is null) here.Signal();
                if (isOver)
                {
                    var missing = published.Values.Count(entry => entry.Position.Offset > start.Offset && entry.Excluded != connection.Id);
                    await Eventually.True(() => sink.Count == missing);
                }
                else
                {
                    Thread.SpinWait(random.Next(50_000));
                }

                await broadcaster.DisconnectAsync(connection);
                Assert.Null(sink.Violation);
                memberships.Add(new(connection.Id, start, result.Recovered, sink.Ids));
                if (isOver) return memberships;
                // The client may receive a message before the publish call returns.
                var newest = sink.Ids.FindLast(id => id != ToAll);
                var spin = new SpinWait();
                while (newest != 0 && !published.ContainsKey(newest)) spin.SpinOnce();
                last = newest == 0 ? start : published[newest].Position;
            }
        }
    }

    static IEnumerable<long> Offsets(long from, long to)
    {
        for (var offset = from; offset <= to; offset++) yield return offset;
    }

    sealed record Membership(string ConnectionId, Position Start, bool? Recovered, List<long> Ids);
}
