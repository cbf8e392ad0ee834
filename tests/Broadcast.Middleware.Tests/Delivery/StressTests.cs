namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Stress tests on real threads. At the end, each test checks every message.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class StressTests
{
    const int Publishers = 8;
    static readonly string[] _names = ["/a", "/b", "/c", "/d"];

    /// <param name="others">
    /// The number of additional groups. For a connection in many groups, the reader looks only at groups with messages.
    /// </param>
    [Theory]
    [InlineData(0)]
    [InlineData(40)]
    public async Task Publish_WithConcurrentJoinsAndLeaves_DeliversOnceAndInOrder(int others)
    {
        string[] otherNames = [.. Enumerable.Range(0, others).Select(static i => $"/other/{i}")];
        var messages = 10_000 * Effort.Factor;
        using var unobserved = new UnobservedExceptions();
        using var engine = new TestEngine(pumps: 0, maxBacklog: 1 << 30);
        var broadcast = new StressLedger(engine);

        // These connections stay until the end. Each connection is in two groups and has a private log from the start.
        var staying = new List<(Connection Connection, StressSink Sink, string[] Groups)>();
        var first = broadcast.NewPublisher();
        for (var i = 0; i < 12; i++)
        {
            var (connection, sink) = broadcast.Connect(_names[i % 4], (Pace)(i % 3));
            Assert.True(await engine.JoinAsync(connection.Id, _names[(i + 1) % 4], TestContext.Current.CancellationToken));
            first.Send(connection.Id);
            await JoinOthersAsync(connection);
            staying.Add((connection, sink, [_names[i % 4], _names[(i + 1) % 4], "", .. otherNames]));
        }

        var churning = new List<(Connection Connection, StressSink Sink, List<Membership> Memberships)>();
        for (var i = 0; i < 4; i++)
        {
            var (connection, sink) = broadcast.Connect("/churn", (Pace)(i % 2));
            await JoinOthersAsync(connection);
            churning.Add((connection, sink, []));
        }

        await broadcast.WaitForDeliveryAsync();
        var ends = 0;
        var threads = new List<Task>();
        for (var i = 0; i < Publishers; i++)
        {
            var random = new Random(i);
            var publisher = broadcast.NewPublisher();
            threads.Add(TestThread.Start(() =>
            {
                for (var n = 0; n < messages; n++)
                {
                    var which = random.Next(64);
                    if (which == 0) publisher.PublishToAll();
                    else if (which < 4) publisher.Send(staying[random.Next(staying.Count)].Connection.Id);
                    else if (which < 16 && others > 0) publisher.Publish(otherNames[random.Next(others)]);
                    else publisher.Publish(_names[which % 4]);
                }

                Interlocked.Increment(ref ends);
            }));
        }

        foreach (var (connection, _, memberships) in churning)
        {
            var random = new Random(memberships.Count);
            var publisher = broadcast.NewPublisher();
            threads.Add(TestThread.Start(() =>
            {
                while (Volatile.Read(ref ends) < Publishers)
                {
                    var name = _names[random.Next(4)];
                    var before = publisher.Publish(name);
                    Assert.True(Now(engine.JoinAsync(connection.Id, name, default)));
                    var entered = publisher.Publish(name);
                    Thread.SpinWait(random.Next(2_000));
                    var leaving = publisher.Publish(name);
                    Assert.True(Now(engine.LeaveAsync(connection.Id, name, default)));
                    var after = publisher.Publish(name);
                    memberships.Add(new(name, before.Offset, entered.Offset, leaving.Offset, after.Offset));
                }
            }));
        }

        await Task.WhenAll(threads).WaitAsync(TimeSpan.FromSeconds(120) * Effort.Factor, TestContext.Current.CancellationToken);
        await broadcast.WaitForDeliveryAsync();
        await broadcast.DisconnectAllAsync();
        Assert.Equal(broadcast.Published, broadcast.Members.Sum(member => (long)member.Sink.Ids.Count));

        var ledger = broadcast.Ledger();
        var lastOffsets = ledger.Values.Where(entry => entry.Group is not null).GroupBy(entry => entry.Group!)
            .ToDictionary(group => group.Key, group => group.Max(entry => entry.Offset));
        foreach (var (_, sink, groups) in staying)
        {
            // A member receives all messages of its groups. The messages of one publisher arrive in the order of publishing.
            AssertOrderOfEachPublisher(sink.Ids);
            var received = ByGroup(sink.Ids, ledger);
            foreach (var name in groups.Where(name => name.Length > 0 && lastOffsets.ContainsKey(name))) Assert.Equal(Range(1, lastOffsets[name]), received[name]);
            Assert.True(IsGapless(received[""]));
            Assert.Equal(lastOffsets[""], received[""][^1]);
        }

        foreach (var (_, sink, memberships) in churning)
        {
            var received = ByGroup(sink.Ids, ledger);
            foreach (var name in _names)
            {
                var offsets = received.GetValueOrDefault(name, []);
                var index = 0;
                foreach (var membership in memberships.Where(membership => membership.Name == name))
                {
                    var start = index;
                    while (index < offsets.Count && offsets[index] < membership.After) index++;
                    var during = offsets[start..index];
                    Assert.True(IsGapless(during));
                    Assert.InRange(during[0], membership.Before + 1, membership.Entered);
                    Assert.InRange(during[^1], membership.Leaving, membership.After - 1);
                }

                Assert.Equal(offsets.Count, index);
            }
        }

        unobserved.AssertNoneOfOurs();

        async Task JoinOthersAsync(Connection connection)
        {
            foreach (var name in otherNames) Assert.True(await engine.JoinAsync(connection.Id, name, TestContext.Current.CancellationToken));
        }
    }

    [Fact]
    public async Task SlowConsumer_OnRealThreads_ReceivesFirstMessagesThenCloseFrame()
    {
        var messages = 5_000 * Effort.Factor;
        using var engine = new TestEngine(pumps: 0, maxBacklog: 16 * 1024);
        var broadcast = new StressLedger(engine);
        for (var i = 0; i < 16; i++) broadcast.Connect("/a", (Pace)(i % 4));
        var threads = Enumerable.Range(0, 4).Select(_ =>
        {
            var publisher = broadcast.NewPublisher();
            return TestThread.Start(() =>
            {
                for (var n = 0; n < messages; n++) Assert.Equal(16, publisher.Publish("/a").Recipients);
            });
        });
        await Task.WhenAll(threads).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        foreach (var (_, sink) in broadcast.Members) sink.Release();
        var total = 4 * messages;
        foreach (var (connection, sink) in broadcast.Members) await Eventually.True(() => sink.Closed is not null || sink.Count == total);
        await broadcast.DisconnectAllAsync();

        var ledger = broadcast.Ledger();
        for (var i = 0; i < broadcast.Members.Count; i++)
        {
            var (connection, sink) = broadcast.Members[i];
            Assert.Equal(Range(1, sink.Ids.Count), sink.Ids.Select(id => ledger[id].Offset));
            AssertOrderOfEachPublisher(sink.Ids);
            if (sink.Count == total) continue;
            Assert.Equal(CloseStatus.TryAgainLater, connection.Writer.ClosingStatus);
            Assert.Equal(CloseStatus.TryAgainLater, sink.Closed);
        }

        Assert.All(broadcast.Members.Where((_, index) => (Pace)(index % 4) == Pace.Stuck), member => Assert.NotNull(member.Sink.Closed));
    }

    [Fact]
    public async Task Publish_ToShortLivedGroups_ReachesExactlyTheCountedRecipients()
    {
        var rounds = 5_000 * Effort.Factor;
        using var engine = new TestEngine(pumps: 0, maxBacklog: 1 << 30);
        var broadcast = new StressLedger(engine);
        for (var i = 0; i < 4; i++) broadcast.Connect($"/home{i}", (Pace)(i % 2));
        var ends = 0;
        var threads = new List<Task>();
        foreach (var (connection, _) in broadcast.Members.ToArray())
        {
            var random = new Random(threads.Count);
            var publisher = broadcast.NewPublisher();
            threads.Add(TestThread.Start(() =>
            {
                for (var n = 0; n < rounds; n++)
                {
                    // Four threads join and leave two groups repeatedly. So the server creates and removes a group,
                    // often while another thread uses the group.
                    var name = _names[random.Next(2)];
                    Assert.True(Now(engine.JoinAsync(connection.Id, name, default)));
                    if (n % 2 == 0) Assert.InRange(publisher.Publish(name).Recipients, 1, 4);
                    Assert.True(Now(engine.LeaveAsync(connection.Id, name, default)));
                }

                Interlocked.Increment(ref ends);
            }));
        }

        for (var i = 0; i < 2; i++)
        {
            var random = new Random(i);
            var publisher = broadcast.NewPublisher();
            threads.Add(TestThread.Start(() =>
            {
                while (Volatile.Read(ref ends) < 4)
                {
                    publisher.Publish(_names[random.Next(2)]);
                    Thread.SpinWait(random.Next(100));
                }
            }));
        }

        await Task.WhenAll(threads).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        await broadcast.WaitForDeliveryAsync();
        foreach (var name in _names) Assert.Equal(0, engine.Connections.CountGroupMembers(name));
        Assert.Equal(1 + 4, engine.Groups.Count);
        await broadcast.DisconnectAllAsync();
        var ledger = broadcast.Ledger();
        var deliveries = new Dictionary<long, int>();
        foreach (var (_, sink) in broadcast.Members)
        {
            Assert.Equal(sink.Ids.Count, sink.Ids.Distinct().Count());
            foreach (var id in sink.Ids) deliveries[id] = deliveries.GetValueOrDefault(id) + 1;
            foreach (var life in sink.Ids.Select(id => ledger[id]).GroupBy(entry => entry.Epoch))
                Assert.True(life.Zip(life.Skip(1)).All(pair => pair.First.Offset < pair.Second.Offset), "Messages of one group arrived out of order.");
        }

        Assert.All(ledger.Values, entry => Assert.Equal(entry.Recipients, deliveries.GetValueOrDefault(entry.Id)));
        Assert.True(deliveries.Count > 0, "No message reached a member.");
    }

    static void AssertOrderOfEachPublisher(List<long> ids)
    {
        var last = new Dictionary<long, long>();
        foreach (var id in ids)
        {
            Assert.True(last.GetValueOrDefault(id >> 32) < id, "Messages of one publisher arrived out of order.");
            last[id >> 32] = id;
        }
    }

    static Dictionary<string, List<long>> ByGroup(List<long> ids, Dictionary<long, StressLedger.Entry> ledger)
    {
        var groups = new Dictionary<string, List<long>>();
        foreach (var id in ids)
        {
            if (ledger[id] is not { Group: { } name, Offset: var offset }) continue;
            if (!groups.TryGetValue(name, out var offsets)) groups.Add(name, offsets = []);
            offsets.Add(offset);
        }

        return groups;
    }

    static IEnumerable<long> Range(long from, long to)
    {
        for (var offset = from; offset <= to; offset++) yield return offset;
    }

    static bool IsGapless(List<long> offsets) => offsets.Zip(offsets.Skip(1)).All(pair => pair.Second == pair.First + 1);

    static bool Now(ValueTask<bool> task) => task.IsCompletedSuccessfully && task.Result;

    /// <summary>
    /// The offsets of four markers, which the test publishes before the join, after the join, before the leave and after the leave.
    /// </summary>
    readonly record struct Membership(string Name, long Before, long Entered, long Leaving, long After);
}
