using CsCheck;

namespace Broadcast.Middleware.Tests.Publishing;

/// <summary>Publishing to several groups, on one thread, checked against a model.</summary>
[Collection(PropertiesCollection.Name)]
public sealed class SeveralGroupsTests
{
    enum Step
    {
        Publish,
        PublishToSeveral,
        PublishToAll,
        PublishToUser,
        Send,
        Connect,
        Disconnect,
        Join,
        Leave,
        CompleteWrite,
        SetMode,
        RunTurn,
    }

    static readonly string[] _names = ["/h1", "/a", "/h2", "/b"];

    static readonly Gen<Operation<Step>[]> _schedules = Schedule.Create(
        200,
        (999, 63, 15),
        Gen.Const(4),
        (12, Step.Publish),
        (24, Step.PublishToSeveral),
        (3, Step.PublishToAll),
        (3, Step.PublishToUser),
        (3, Step.Send),
        (5, Step.Connect),
        (1, Step.Disconnect),
        (14, Step.Join),
        (9, Step.Leave),
        (10, Step.CompleteWrite),
        (4, Step.SetMode),
        (14, Step.RunTurn));

    [Fact]
    public void PublishToSeveralGroups_RandomSchedule_DeliversOnceAndInOrder() =>
        _schedules.Sample(schedule => Run(schedule), iter: 2_000 * Effort.Factor);

    [Fact]
    public void SharedMessage_NotYetInAllLogs_IsNotDelivered()
    {
        var clock = new SequenceClock();
        using var broadcast = new TestEngine();
        var listener = new Listener(broadcast);
        var (one, other) = (TestEngine.CreateLog(clock, 1_024), TestEngine.CreateLog(clock, 1_024));
        var reader = new LogReader(clock);
        foreach (var log in new[] { one, other })
        {
            reader.Add(new Cursor(log, listener.Connection.Writer, new GroupShard(broadcast.Pumps[0].Pump)));
        }

        Message message = new(Payload.Make(1, 4), MessageType.Binary);
        one.Append(message, null);
        var commit = new CommitToken();
        var shared = EntryMetadata.WithCommit(null, commit);
        var sequence = clock.Next();
        lock (one.Gate) one.AppendLocked(message, shared, sequence);
        // The uncommitted message must not be the end of an earlier run either.
        Assert.True(reader.TryTake(long.MaxValue, out var before));
        Assert.Equal(1, before.Messages);
        Assert.False(reader.TryTake(long.MaxValue, out _));
        lock (other.Gate) other.AppendLocked(message, shared, sequence);
        Assert.False(reader.TryTake(long.MaxValue, out _));
        commit.Commit();
        Assert.True(reader.TryTake(long.MaxValue, out var run));
        Assert.Equal(1, run.Messages);
        Assert.False(reader.TryTake(long.MaxValue, out _));
    }

    [Fact]
    public void Join_SeveralGroupsWithHistory_MergesReplays()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/h*"));
        foreach (var id in RecoveryHelpers.Range(1, 60)) broadcast.Publish(Recipients.Groups((id % 3) switch { 0 => ["/h1"], 1 => ["/h2"], _ => ["/h2", "/h1"] }), id);
        var listener = new Listener(broadcast);
        listener.Join("/h2", Replay.Last(1_000));
        listener.Join("/h1", Replay.Last(1_000));
        broadcast.Publish(Recipients.Groups("/h1", "/h2"), 61);
        broadcast.RunUntilIdle();
        Assert.Equal(RecoveryHelpers.Range(1, 61), listener.Got);
    }

    [Fact]
    public void PublishToSeveralGroups_RepeatedUnknownOrNoNames_IsAccepted()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/h"));
        var listener = new Listener(broadcast, "/home");
        listener.Join("/a");
        Assert.Equal(new PublishResult(null, 1), broadcast.Publish(Recipients.Groups("/a", "/nobody", "/a"), 1));
        Assert.Equal(default, broadcast.Publish(Recipients.Groups("/nobody"), 2));
        Assert.Equal(default, broadcast.Publish(Recipients.Groups(), 3));
        // The message has no recipient, but the history keeps it.
        Assert.Equal(default, broadcast.Publish(Recipients.Groups("/nobody", "/h"), 4));
        listener.Join("/h", Replay.Last(1));
        broadcast.RunUntilIdle();
        Assert.Equal([1, 4], listener.Got);
    }

    [Fact]
    public void Leave_OneOfSeveralGroups_StillDeliversThroughTheOther()
    {
        using var broadcast = new TestEngine();
        var listener = new Listener(broadcast, "/home") { Sink = { Mode = WriteMode.Later } };
        listener.Join("/a");
        listener.Join("/b");
        broadcast.Publish(Recipients.Groups("/a", "/b"), 1);
        broadcast.RunUntilIdle();
        foreach (var id in RecoveryHelpers.Range(2, 4)) broadcast.Publish(Recipients.Groups("/a", "/b"), id);
        listener.Leave("/a");
        foreach (var id in RecoveryHelpers.Range(5, 7)) broadcast.Publish(Recipients.Groups("/a", "/b"), id);
        listener.Leave("/b");
        listener.Join("/a");
        broadcast.Publish(Recipients.Groups("/a", "/b"), 8);
        listener.Leave("/a");
        broadcast.Publish(Recipients.Groups("/a", "/b"), 9);
        listener.Sink.Mode = WriteMode.AtOnce;
        listener.Sink.CompleteWrite();
        broadcast.RunUntilIdle();
        Assert.Equal(RecoveryHelpers.Range(1, 8), listener.Got);
    }

    [Theory]
    [InlineData(SlowConsumer.Conflate)]
    [InlineData(SlowConsumer.SkipToLatest)]
    public void SlowMember_SkippingInOneGroup_GetsSharedMessagesThroughOtherGroupOnce(SlowConsumer whenSlow)
    {
        using var broadcast = new TestEngine(maxBacklog: 1 << 16, configure: options => options.Groups["/p*"] = new() { SlowConsumer = whenSlow });
        var listener = new Listener(broadcast) { Sink = { Mode = WriteMode.Later } };
        listener.Join("/prices");
        listener.Join("/chat");
        var id = 0;
        for (var round = 0; round < 5; round++)
        {
            for (var i = 0; i < 2_000; i++)
            {
                // Only a few messages go to the group that must not lose any.
                var recipients = i % 50 == 0 ? Recipients.Groups("/prices", "/chat") : Recipients.Group("/prices");
                broadcast.Publish(new(Payload.Make(++id, 100), MessageType.Binary) { Key = "k" }, recipients);
                broadcast.RunUntilIdle();
            }

            listener.Sink.CompleteWrite();
            broadcast.RunUntilIdle();
        }

        listener.Sink.Mode = WriteMode.AtOnce;
        listener.Sink.CompleteWrite();
        broadcast.RunUntilIdle();
        Assert.Null(listener.Sink.Closed);
        Assert.Equal(listener.Got.Order().Distinct(), listener.Got);
        Assert.Empty(RecoveryHelpers.Range(1, id).Where(number => (number - 1) % 50 == 0).Except(listener.Got));
        Assert.Contains(id, listener.Got);
        Assert.InRange(listener.Got.Count, 200, id - 1_000);
    }

    static void Run(Operation<Step>[] schedule)
    {
        using var broadcast = new TestEngine(pumps: 2, maxBacklog: 64 << 20, configure: RecoveryHelpers.History("/h*"));
        var peers = new List<Peer>();
        var histories = new Dictionary<string, List<int>> { ["/h1"] = [], ["/h2"] = [] };
        var lastId = 0;
        foreach (var (step, a, b, c, _) in schedule)
        {
            var name = _names[b % 4];
            var peer = peers.Count == 0 ? null : peers[a % peers.Count];
            Peer[] excluded = c < 5 ? [.. peers.Where((_, index) => (index + c) % 3 == 0)] : [];
            string[] exceptions = [.. excluded.Select(other => other.Listener.Connection.Id)];
            switch (step)
            {
                case Step.Publish:
                    broadcast.Publish(Recipients.Group(name).Except(exceptions), ++lastId);
                    Expect([name]);
                    break;
                case Step.PublishToSeveral:
                    string[] names = [.. _names.Where((_, index) => (b & (1 << index)) != 0), .. b > 31 ? [name, "/nobody"] : Array.Empty<string>()];
                    if (c % 2 == 0) Array.Reverse(names);
                    var result = broadcast.Publish(Recipients.Groups(names).Except(exceptions), ++lastId);
                    Assert.Null(result.Position);
                    Assert.Equal(names.Distinct().Sum(each => peers.Count(other => other.Groups.Contains(each))), result.LocalRecipients);
                    Expect(names);
                    break;
                case Step.PublishToAll:
                    broadcast.Publish(Recipients.All.Except(exceptions), ++lastId);
                    Expect([""]);
                    break;
                case Step.PublishToUser:
                    broadcast.Publish(Recipients.User($"{a % 2}").Except(exceptions), ++lastId);
                    foreach (var other in peers.Where(other => other.IsConnected && other.User == a % 2).Except(excluded)) other.Expected.Add(lastId);
                    break;
                case Step.Send when peer is { IsConnected: true }:
                    broadcast.Publish(Recipients.Connection(peer.Listener.Connection.Id), ++lastId);
                    peer.Expected.Add(lastId);
                    break;
                case Step.Connect when peers.Count < 8:
                    var request = new FakeRequest();
                    request.UserId = $"{a % 2}";
                    peers.Add(new(new Listener(broadcast, name, broadcast.Pumps[a % 2], request) { Sink = { Mode = (WriteMode)(c % 2) } }, a % 2) { Groups = { name, "" } });
                    break;
                case Step.Disconnect when peer is { IsConnected: true }:
                    peer.Listener.Disconnect();
                    (peer.IsConnected, peer.WasCutOff) = (false, true);
                    peer.Groups.Clear();
                    break;
                case Step.Join when peer is { IsConnected: true }:
                    // A replay would correctly deliver a message a second time, so this join replays nothing.
                    Assert.Equal(peer.Groups.Add(name), peer.Listener.Join(name, Replay.None).Joined);
                    break;
                case Step.Leave when peer is not null && peer.Groups.Remove(name):
                    peer.Listener.Leave(name);
                    break;
                case Step.CompleteWrite:
                    peer?.Listener.Sink.CompleteWrite();
                    break;
                case Step.SetMode when peer is not null:
                    peer.Listener.Sink.Mode = (WriteMode)(c % 2);
                    break;
                case Step.RunTurn:
                    broadcast.Pumps[a % 2].RunTurn();
                    break;
            }

            void Expect(string[] names)
            {
                foreach (var other in peers.Where(other => names.Any(other.Groups.Contains)).Except(excluded)) other.Expected.Add(lastId);
                foreach (var each in names.Distinct().Where(histories.ContainsKey)) histories[each].Add(lastId);
            }
        }

        foreach (var peer in peers) peer.Listener.Sink.Mode = WriteMode.AtOnce;
        broadcast.RunUntilWritten(() => peers.Select(peer => peer.Listener.Sink));
        foreach (var peer in peers)
        {
            peer.Listener.AssertNoViolation();
            Assert.Equal(peer.WasCutOff ? peer.Expected.Take(peer.Listener.Got.Count) : peer.Expected, peer.Listener.Got);
        }

        foreach (var (name, expected) in histories)
        {
            var late = new Listener(broadcast);
            late.Join(name, Replay.Last(1_000));
            broadcast.RunUntilIdle();
            Assert.Equal(expected, late.Got);
            late.Disconnect();
        }

        foreach (var peer in peers.Where(peer => peer.IsConnected)) peer.Listener.Disconnect();
        broadcast.RunUntilIdle();
        broadcast.Time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(histories.Values.Count(history => history.Count > 0), broadcast.Groups.Count);
    }

    sealed record Peer(Listener Listener, int User)
    {
        public HashSet<string> Groups { get; } = [];
        public List<int> Expected { get; } = [];
        public bool IsConnected { get; set; } = true;
        public bool WasCutOff { get; set; }
    }
}
