using System.Collections.Concurrent;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>Stress tests of two nodes on real threads. Every member gets every message once, and all members see the same order.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class ClusterStressTests
{
    const int Members = 8, Publishers = 3, Messages = 1_500;

    [Fact]
    public async Task Publish_OnTwoNodesWithChangingMembers_DeliversOnceInOneOrder()
    {
        using var unobserved = new UnobservedExceptions();
        var cluster = new InMemoryCluster();
        IBackplane[] backplanes = [cluster.CreateNode(), cluster.CreateNode()];
        TestEngine[] nodes = [.. backplanes.Select(backplane => new TestEngine(pumps: 0, maxBacklog: 64 << 20, backplane: backplane))];
        var members = new List<(TestEngine Node, Connection Connection, StressSink Sink, bool IsInBoth)>();
        for (var i = 0; i < Members; i++)
        {
            var node = nodes[i % 2];
            var (connection, sink) = await ConnectAsync(node, i % 4 < 2 ? Pace.Soon : Pace.AtOnce, i);
            var isInBoth = i % 3 != 0;
            if (isInBoth) Assert.True((await connection.JoinAsync("red", cancellationToken: TestContext.Current.CancellationToken)).Joined);
            members.Add((node, connection, sink, isInBoth));
        }

        var published = new ConcurrentDictionary<long, string>();
        var (isDone, visits) = (false, 0);
        var publishing = Task.WhenAll(Enumerable.Range(0, Publishers).Select(publisher => Task.Run(async () =>
        {
            for (var i = 1; i <= Messages; i++)
            {
                var id = ((long)publisher << 32) | (uint)i;
                // The publishers wait for the visitors, so that visitors connect during the whole run.
                if (i % 100 == 0) await Eventually.True(() => Volatile.Read(ref visits) > i * 24 / Messages);
                var (name, recipients) = (i % 5) switch
                {
                    0 => ("red", Recipients.Group("red")),
                    1 => ("both", Recipients.Groups("blue", "red")),
                    2 => ("all", Recipients.Everyone),
                    3 => ($"to {i % Members}", Recipients.Connection(members[i % Members].Connection.Id)),
                    _ => ("blue", Recipients.Group("blue")),
                };
                published[id] = name;
                await nodes[(publisher + (i / 100)) % 2].PublishAsync(new(BitConverter.GetBytes(id), MessageType.Binary), recipients, TestContext.Current.CancellationToken);
            }
        })));
        // Visitors connect and disconnect repeatedly, so that the server creates and removes the group "green" repeatedly.
        var churning = Task.WhenAll(Enumerable.Range(0, 2).Select(churner => Task.Run(async () =>
        {
            var gone = new List<StressSink>();
            for (var i = 0; !Volatile.Read(ref isDone); i++)
            {
                var (connection, sink) = await ConnectAsync(nodes[churner], Pace.AtOnce, i);
                await connection.JoinAsync("red");
                await Task.WhenAll(connection.JoinAsync("green").AsTask(), nodes[1 - churner].JoinAsync(connection.Id, "green", TestContext.Current.CancellationToken).AsTask());
                connection.Leave("red");
                await nodes[churner].DisconnectAsync(connection);
                gone.Add(sink);
                Interlocked.Increment(ref visits);
            }

            return gone;
        })));

        await publishing;
        Volatile.Write(ref isDone, true);
        var visitors = (await churning).SelectMany(static gone => gone).ToArray();
        for (var i = 0; i < Members; i++)
        {
            var (_, connection, sink, isInBoth) = members[i];
            var me = $"to {i}";
            var expected = published.Where(message => message.Value == "all" || message.Value == me || message.Value == "both" || message.Value == (isInBoth ? "red" : "blue")
                || message.Value == "blue").Select(static message => message.Key).Order().ToArray();
            await Eventually.True(() => sink.Count >= expected.Length, TimeSpan.FromSeconds(30));
            Assert.Null(connection.Writer.ClosingStatus);
            Assert.Null(sink.Violation);
            Assert.Equal(expected, sink.Ids.Order());
        }

        // The messages to all connections have one common order. The messages of each group also have one common order.
        var orders = new Dictionary<string, List<long>>();
        foreach (var name in (string[])["all", "blue", "red"])
        {
            foreach (var (_, _, sink, _) in members.Where(member => name != "red" || member.IsInBoth))
            {
                var received = sink.Ids.Where(id => published[id] == name).ToList();
                if (!orders.TryAdd(name, received)) Assert.Equal(orders[name], received);
            }

            // A visitor has received a part of this order without a gap.
            foreach (var visitor in visitors)
            {
                var received = visitor.Ids.Where(id => published[id] == name).ToList();
                if (received.Count > 0) Assert.Equal(orders[name].Skip(orders[name].IndexOf(received[0])).Take(received.Count), received);
                Assert.Null(visitor.Violation);
            }
        }

        Assert.True(visitors.Length > 20, $"Too few visitors connected: {visitors.Length}.");
        foreach (var (node, connection, _, _) in members) await node.DisconnectAsync(connection);
        Assert.All(nodes, static node => Assert.Equal((0, 0), (node.Groups.Count, node.Connections.Count)));
        Assert.Equal(nodes.Length, cluster.Count);
        foreach (var backplane in backplanes) ((IDisposable)backplane).Dispose();
        foreach (var node in nodes) node.Dispose();
        Assert.Equal(0, cluster.Count);
        unobserved.AssertNoneOfOurs();
    }

    /// <summary>
    /// The cluster loses its data at random times. No connection may receive messages with a gap. After a loss, the
    /// server must close the connection with code 1013.
    /// </summary>
    [Fact]
    public async Task ClusterLoss_AtRandomTimes_LeavesNoUnreportedGap()
    {
        const int Rounds = 60;
        var cluster = new InMemoryCluster();
        TestEngine[] nodes = [.. Enumerable.Range(0, 2).Select(_ => new TestEngine(pumps: 0, backplane: cluster.CreateNode()))];
        var isDone = false;
        var last = 0L;
        var publishing = Task.Run(async () =>
        {
            while (!Volatile.Read(ref isDone))
                await nodes[last % 2].PublishAsync(new(BitConverter.GetBytes(Interlocked.Increment(ref last)), MessageType.Binary), Recipients.Group("blue"), TestContext.Current.CancellationToken);
        }, TestContext.Current.CancellationToken);
        var joining = Task.WhenAll(nodes.Select((node, seed) => Task.Run(async () =>
        {
            var notified = 0;
            while (!Volatile.Read(ref isDone))
            {
                var (connection, sink) = await ConnectAsync(node, Pace.AtOnce, seed);
                var before = Volatile.Read(ref last);
                await Eventually.True(() => connection.Writer.ClosingStatus is not null || Volatile.Read(ref last) > before + 200 || Volatile.Read(ref isDone));
                if (connection.Writer.ClosingStatus is { } status)
                {
                    Assert.Equal(CloseStatus.TryAgainLater, status);
                    notified++;
                }

                await node.DisconnectAsync(connection);
                Assert.Null(sink.Violation);
                for (var i = 1; i < sink.Ids.Count; i++) Assert.Equal(sink.Ids[i - 1] + 1, sink.Ids[i]);
            }

            return notified;
        })));

        for (var i = 0; i < Rounds; i++)
        {
            var before = Volatile.Read(ref last);
            await Eventually.True(() => Volatile.Read(ref last) > before + 100);
            cluster.Forget();
            foreach (var node in nodes) await node.Cluster!.InboxOpening;
        }

        Volatile.Write(ref isDone, true);
        await publishing;
        Assert.True((await joining).Sum() > 0);
        Assert.All(nodes, static node => Assert.Equal((0, 0), (node.Groups.Count, node.Connections.Count)));
        Assert.Equal(nodes.Length, cluster.Count);
        foreach (var node in nodes) node.Dispose();
    }

    static async Task<(Connection Connection, StressSink Sink)> ConnectAsync(TestEngine node, Pace pace, int seed)
    {
        var sink = new StressSink(pace, seed);
        return (await node.ConnectAsync(null, "blue", sink), sink);
    }
}
