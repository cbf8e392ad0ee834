namespace Broadcast.Middleware.Tests.Properties;

/// <summary>Everything at once on real threads; afterwards every message is accounted for.</summary>
[Collection(PropertiesCollection.Name)]
public sealed class StressTests
{
    const int Publishers = 8;
    static readonly string[] _names = ["/a", "/b", "/c", "/d"];

    [Fact]
    public async Task Every_member_gets_each_message_once_and_in_order_while_others_come_and_go()
    {
        var messages = 25_000 * Effort.Factor;
        using var unobserved = new UnobservedExceptions();
        using var crowd = new Crowd(maxBacklog: 1 << 30);

        // These stay, each in two groups, and have a lane from the beginning.
        var staying = new List<(Connection Connection, StressSink Sink, string[] Groups)>();
        var first = crowd.NewPublisher();
        for (var i = 0; i < 12; i++)
        {
            var (connection, sink) = crowd.Connect(_names[i % 4], (Pace)(i % 3));
            Assert.True(await crowd.Broadcaster.JoinAsync(connection.Id, _names[(i + 1) % 4], TestContext.Current.CancellationToken));
            first.Send(connection.Id);
            staying.Add((connection, sink, [_names[i % 4], _names[(i + 1) % 4], ""]));
        }

        var churning = new List<(Connection Connection, StressSink Sink, List<Stay> Stays)>();
        for (var i = 0; i < 4; i++)
        {
            var (connection, sink) = crowd.Connect("/churn", (Pace)(i % 2));
            churning.Add((connection, sink, []));
        }

        await crowd.AllIsDelivered();
        var ends = 0;
        var threads = new List<Task>();
        for (var i = 0; i < Publishers; i++)
        {
            var random = new Random(i);
            var publisher = crowd.NewPublisher();
            threads.Add(Crowd.Start(() =>
            {
                for (var n = 0; n < messages; n++)
                {
                    var which = random.Next(64);
                    if (which == 0) publisher.PublishToAll();
                    else if (which < 4) publisher.Send(staying[random.Next(staying.Count)].Connection.Id);
                    else publisher.Publish(_names[which % 4]);
                }

                Interlocked.Increment(ref ends);
            }));
        }

        foreach (var (connection, _, stays) in churning)
        {
            var random = new Random(stays.Count);
            var publisher = crowd.NewPublisher();
            threads.Add(Crowd.Start(() =>
            {
                while (Volatile.Read(ref ends) < Publishers)
                {
                    var name = _names[random.Next(4)];
                    var before = publisher.Publish(name);
                    Assert.True(Now(crowd.Broadcaster.JoinAsync(connection.Id, name, default)));
                    var entered = publisher.Publish(name);
                    Thread.SpinWait(random.Next(2_000));
                    var leaving = publisher.Publish(name);
                    Assert.True(Now(crowd.Broadcaster.LeaveAsync(connection.Id, name, default)));
                    var after = publisher.Publish(name);
                    stays.Add(new(name, before.Offset, entered.Offset, leaving.Offset, after.Offset));
                }
            }));
        }

        await Task.WhenAll(threads).WaitAsync(TimeSpan.FromSeconds(120) * Effort.Factor, TestContext.Current.CancellationToken);
        await crowd.AllIsDelivered();
        await crowd.EverybodyGoes();
        Assert.Equal(crowd.Published, crowd.Members.Sum(member => (long)member.Sink.Ids.Count));

        var ledger = crowd.Ledger();
        var lastOffsets = ledger.Values.Where(entry => entry.Group is not null).GroupBy(entry => entry.Group!)
            .ToDictionary(group => group.Key, group => group.Max(entry => entry.Offset));
        foreach (var (_, sink, groups) in staying)
        {
            // All that went to its groups, from the first on; and what one thread published, in the order in which it did.
            AssertOrderOfEachPublisher(sink.Ids);
            var received = ByGroup(sink.Ids, ledger);
            foreach (var name in groups.Where(name => name.Length > 0)) Assert.Equal(Range(1, lastOffsets[name]), received[name]);
            Assert.True(IsGapless(received[""]));
            Assert.Equal(lastOffsets[""], received[""][^1]);
        }

        foreach (var (_, sink, stays) in churning)
        {
            var received = ByGroup(sink.Ids, ledger);
            foreach (var name in _names)
            {
                var offsets = received.GetValueOrDefault(name, []);
                var index = 0;
                foreach (var stay in stays.Where(stay => stay.Name == name))
                {
                    var start = index;
                    while (index < offsets.Count && offsets[index] < stay.After) index++;
                    var during = offsets[start..index];
                    Assert.True(IsGapless(during));
                    Assert.InRange(during[0], stay.Before + 1, stay.Entered);
                    Assert.InRange(during[^1], stay.Leaving, stay.After - 1);
                }

                Assert.Equal(offsets.Count, index);
            }
        }

        unobserved.AssertNoneOfOurs();
    }

    [Fact]
    public async Task Who_is_too_slow_gets_a_prefix_and_is_told()
    {
        var messages = 10_000 * Effort.Factor;
        using var crowd = new Crowd(maxBacklog: 16 * 1024);
        for (var i = 0; i < 16; i++) crowd.Connect("/a", (Pace)(i % 4));
        var threads = Enumerable.Range(0, 4).Select(_ =>
        {
            var publisher = crowd.NewPublisher();
            return Crowd.Start(() =>
            {
                for (var n = 0; n < messages; n++) Assert.Equal(16, publisher.Publish("/a").Recipients);
            });
        });
        await Task.WhenAll(threads).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        foreach (var (_, sink) in crowd.Members) sink.Release();
        var total = 4 * messages;
        foreach (var (connection, sink) in crowd.Members) await Eventually.True(() => sink.Closed is not null || sink.Count == total);
        await crowd.EverybodyGoes();

        var ledger = crowd.Ledger();
        for (var i = 0; i < crowd.Members.Count; i++)
        {
            var (connection, sink) = crowd.Members[i];
            Assert.Equal(Range(1, sink.Ids.Count), sink.Ids.Select(id => ledger[id].Offset));
            AssertOrderOfEachPublisher(sink.Ids);
            if (sink.Count == total) continue;
            Assert.Equal(CloseStatus.TryAgainLater, connection.Writer.ClosingStatus);
            Assert.Equal(CloseStatus.TryAgainLater, sink.Closed);
        }

        Assert.All(crowd.Members.Where((_, index) => (Pace)(index % 4) == Pace.Stuck), member => Assert.NotNull(member.Sink.Closed));
    }

    [Fact]
    public async Task Groups_that_come_and_go_deliver_to_exactly_those_who_were_counted()
    {
        var rounds = 10_000 * Effort.Factor;
        using var crowd = new Crowd(maxBacklog: 1 << 30);
        for (var i = 0; i < 4; i++) crowd.Connect($"/home{i}", (Pace)(i % 2));
        var ends = 0;
        var threads = new List<Task>();
        foreach (var (connection, _) in crowd.Members.ToArray())
        {
            var random = new Random(threads.Count);
            var publisher = crowd.NewPublisher();
            threads.Add(Crowd.Start(() =>
            {
                for (var n = 0; n < rounds; n++)
                {
                    // Two names for four threads: mostly they make a group and remove it, and often two meet at that.
                    var name = _names[random.Next(2)];
                    Assert.True(Now(crowd.Broadcaster.JoinAsync(connection.Id, name, default)));
                    if (n % 2 == 0) Assert.InRange(publisher.Publish(name).Recipients, 1, 4);
                    Assert.True(Now(crowd.Broadcaster.LeaveAsync(connection.Id, name, default)));
                }

                Interlocked.Increment(ref ends);
            }));
        }

        for (var i = 0; i < 2; i++)
        {
            var random = new Random(i);
            var publisher = crowd.NewPublisher();
            threads.Add(Crowd.Start(() =>
            {
                while (Volatile.Read(ref ends) < 4)
                {
                    publisher.Publish(_names[random.Next(2)]);
                    Thread.SpinWait(random.Next(100));
                }
            }));
        }

        await Task.WhenAll(threads).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        await crowd.AllIsDelivered();
        foreach (var name in _names) Assert.Equal(0, crowd.Broadcaster.Connections.CountInGroup(name));
        Assert.Equal(1 + 4, crowd.Broadcaster.Groups.Count);
        await crowd.EverybodyGoes();
        var ledger = crowd.Ledger();
        var deliveries = new Dictionary<long, int>();
        foreach (var (_, sink) in crowd.Members)
        {
            Assert.Equal(sink.Ids.Count, sink.Ids.Distinct().Count());
            foreach (var id in sink.Ids) deliveries[id] = deliveries.GetValueOrDefault(id) + 1;
            foreach (var life in sink.Ids.Select(id => ledger[id]).GroupBy(entry => entry.Epoch))
                Assert.True(life.Zip(life.Skip(1)).All(pair => pair.First.Offset < pair.Second.Offset), "Out of order.");
        }

        Assert.All(ledger.Values, entry => Assert.Equal(entry.Recipients, deliveries.GetValueOrDefault(entry.Id)));
        Assert.True(deliveries.Count > 0, "Nobody was ever there when something was published.");
    }

    static void AssertOrderOfEachPublisher(List<long> ids)
    {
        var last = new Dictionary<long, long>();
        foreach (var id in ids)
        {
            Assert.True(last.GetValueOrDefault(id >> 32) < id, "What one thread published arrived in another order.");
            last[id >> 32] = id;
        }
    }

    static Dictionary<string, List<long>> ByGroup(List<long> ids, Dictionary<long, Crowd.Entry> ledger)
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

    /// <summary>Offsets of marks: published before the join was asked for, after it was done, before the leave, after it.</summary>
    readonly record struct Stay(string Name, long Before, long Entered, long Leaving, long After);
}
