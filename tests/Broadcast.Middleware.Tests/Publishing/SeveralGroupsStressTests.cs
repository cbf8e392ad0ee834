using System.Collections.Concurrent;

namespace Broadcast.Middleware.Tests.Publishing;

/// <summary>
/// Stress tests of publishing to several groups, on real threads. At the end, each test checks every message.
/// </summary>
[Collection(nameof(NotParallelCollection))]
public sealed class SeveralGroupsStressTests
{
    const int Publishers = 4;

    static readonly string[] _names = ["/h1", "/a", "/h2", "/b", "/h3", "/c"];

    [Fact]
    public async Task PublishToSeveralGroups_UnderStress_DeliversOnceAndInOrder()
    {
        var messages = 2_500 * Effort.Factor;
        using var broadcaster = new TestEngine(pumps: 0, maxBacklog: 1 << 29, configure: RecoveryHelpers.History("/h*", 10_000_000, 1 << 29));
        var published = new ConcurrentDictionary<long, Sent>();

        // These connections stay in some of the groups. Other connections repeatedly join and leave groups.
        var staying = Enumerable.Range(1, 12).Select(i => Connect(i, [.. _names.Where((_, index) => ((i * 5) & (1 << index)) != 0)])).ToArray();
        var churning = Enumerable.Range(20, 3).Select(i => Connect(i, [])).ToArray();
        var ends = 0;
        var publishing = Enumerable.Range(1, Publishers).Select(publisher => TestThread.Start(() =>
        {
            var random = new Random(publisher);
            var payload = new byte[8];
            for (var i = 1; i <= messages; i++)
            {
                var id = ((long)publisher << 32) | (uint)i;
                BitConverter.TryWriteBytes(payload, id);
                // The names are in random order. If publishers locked the groups in the given order, they would soon deadlock.
                var names = _names.Where(_ => random.Next(2) == 0).ToArray();
                random.Shuffle(names);
                var excluded = random.Next(8) == 0 ? staying[random.Next(staying.Length)].Connection.Id : null;
                var recipients = random.Next(8) switch
                {
                    0 => Recipients.Everyone,
                    1 => Recipients.Group((names = [_names[random.Next(_names.Length)]])[0]),
                    _ => Recipients.Groups(names),
                };
                if (recipients.Kind == RecipientsKind.Everyone) names = [""];
                published[id] = new(names, excluded);
                broadcaster.Publish(new(payload, MessageType.Binary), excluded is null ? recipients : recipients.Except(excluded));
            }

            Interlocked.Increment(ref ends);
        }));
        var coming = churning.Select(peer => TestThread.Start(() =>
        {
            var random = new Random(peer.Number);
            while (Volatile.Read(ref ends) < Publishers)
            {
                var name = _names[random.Next(_names.Length)];
                if (!peer.Connection.Join(name, Replay.None).Joined) peer.Connection.Leave(name);
                Thread.SpinWait(random.Next(2_000));
            }
        }));
        await Task.WhenAll([.. publishing, .. coming]).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);

        // A log with a history contains exactly the messages to its group. So this log defines the expected order.
        var orders = new Dictionary<string, List<long>>();
        foreach (var name in _names.Where(name => name.StartsWith("/h", StringComparison.Ordinal)))
        {
            var late = Connect(30, []);
            Assert.True(late.Connection.Join(name, Replay.Last(10_000_000)).Joined);
            var expected = published.Where(message => message.Value.Names.Contains(name)).Select(message => message.Key).ToHashSet();
            await Eventually.True(() => late.Sink.Count >= expected.Count);
            await DisconnectAsync(late);
            Assert.Equal(expected.Count, late.Sink.Ids.Count);
            Assert.True(expected.SetEquals(late.Sink.Ids));
            orders.Add(name, late.Sink.Ids);
        }

        foreach (var peer in staying)
        {
            var expected = published.Where(message => message.Value.IsFor(peer)).Select(message => message.Key).ToHashSet();
            await Eventually.True(() => peer.Sink.Count >= expected.Count);
            await DisconnectAsync(peer);
            Assert.Equal(expected.Count, peer.Sink.Ids.Count);
            Assert.True(expected.SetEquals(peer.Sink.Ids));
            foreach (var name in peer.Groups)
            {
                var ids = peer.Sink.Ids.Where(id => published[id].Names.Contains(name)).ToList();
                // Without a history, the first member defines the expected order.
                if (orders.TryAdd(name, ids)) continue;
                var order = orders[name].Select((id, index) => (id, index)).ToDictionary();
                var places = ids.Where(order.ContainsKey).Select(id => order[id]).ToList();
                Assert.Equal(places.Order(), places);
            }
        }

        foreach (var peer in churning) await DisconnectAsync(peer);
        foreach (var peer in staying.Concat(churning))
        {
            Assert.Equal(peer.Sink.Ids.Count, peer.Sink.Ids.Distinct().Count());
            var last = new long[Publishers + 1];
            foreach (var id in peer.Sink.Ids)
            {
                Assert.True(last[id >> 32] < id, "Messages of one publisher arrived out of order.");
                last[id >> 32] = id;
            }
        }

        Assert.Equal(0, broadcaster.Connections.Count);

        Peer Connect(int number, string[] groups)
        {
            var sink = new StressSink((Pace)(number % 3), number);
            var connection = broadcaster.Connect(null, "/home", sink);
            foreach (var group in groups) Assert.True(connection.Join(group).Joined);
            return new(number, connection, sink, [.. groups, ""]);
        }

        async Task DisconnectAsync(Peer peer)
        {
            await broadcaster.DisconnectAsync(peer.Connection);
            Assert.Null(peer.Sink.Violation);
        }
    }

    [Fact]
    public async Task PublishToSeveralGroups_WhileGroupsAreRemovedAndRecreated_LosesNoMessage()
    {
        var rounds = 1_500 * Effort.Factor;
        using var broadcaster = new TestEngine(pumps: 0, maxBacklog: 1 << 29, configure: RecoveryHelpers.History("/h*", maxEmptyGroups: 1));
        var members = Enumerable.Range(1, 3).Select(number =>
        {
            var sink = new StressSink(Pace.AtOnce, number);
            var connection = broadcaster.Connect(null, "/home", sink);
            return (Number: number, Connection: connection, Sink: sink, Due: new List<long>());
        }).ToArray();
        await Task.WhenAll(members.Select(member => TestThread.Start(() =>
        {
            var random = new Random(member.Number);
            var payload = new byte[8];
            for (var i = 1; i <= rounds; i++)
            {
                var id = ((long)member.Number << 32) | (uint)i;
                BitConverter.TryWriteBytes(payload, id);
                // The member alternates between one group and both groups. In both states, it must receive its own messages.
                var (first, second) = random.Next(2) == 0 ? ("/a", "/h1") : ("/h1", "/a");
                member.Connection.Join(first, Replay.None);
                if (i % 2 == 0) member.Connection.Join(second, Replay.None);
                broadcaster.Publish(new(payload, MessageType.Binary), Recipients.Groups(second, "/h2", first, "/h3"));
                member.Due.Add(id);
                member.Connection.Leave(first);
                member.Connection.Leave(second);
            }
        }))).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);

        foreach (var member in members)
        {
            long[] Own() => [.. member.Sink.Ids.Where(id => id >> 32 == member.Number)];
            broadcaster.Publish(new(new byte[8], MessageType.Binary), Recipients.Connection(member.Connection.Id));
            await Eventually.True(() => member.Sink.Count > 0 && member.Sink.Ids[member.Sink.Count - 1] == 0);
            await broadcaster.DisconnectAsync(member.Connection);
            Assert.Null(member.Sink.Violation);
            Assert.Equal(member.Due, Own());
            Assert.Equal(member.Sink.Ids.Count, member.Sink.Ids.Distinct().Count());
        }

        Assert.InRange(broadcaster.Groups.Count, 0, 1);
    }

    sealed record Sent(string[] Names, string? Excluded)
    {
        public bool IsFor(Peer peer) => Excluded != peer.Connection.Id && Names.Any(peer.Groups.Contains);
    }

    sealed record Peer(int Number, Connection Connection, StressSink Sink, HashSet<string> Groups);
}
