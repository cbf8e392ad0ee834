using System.Security.Claims;
using Broadcast.Middleware.Tests.Properties;
using CsCheck;

namespace Broadcast.Middleware.Tests.Recovery;

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
        Come,
        Go,
        Join,
        Leave,
        CompleteWrite,
        SetMode,
        RunTurn,
    }

    static readonly string[] _names = ["/h1", "/a", "/h2", "/b"];

    static readonly Gen<Step> _steps = Gen.Frequency(
        (12, Gen.Const(Step.Publish)),
        (24, Gen.Const(Step.PublishToSeveral)),
        (3, Gen.Const(Step.PublishToAll)),
        (3, Gen.Const(Step.PublishToUser)),
        (3, Gen.Const(Step.Send)),
        (5, Gen.Const(Step.Come)),
        (1, Gen.Const(Step.Go)),
        (14, Gen.Const(Step.Join)),
        (9, Gen.Const(Step.Leave)),
        (10, Gen.Const(Step.CompleteWrite)),
        (4, Gen.Const(Step.SetMode)),
        (14, Gen.Const(Step.RunTurn)));

    static readonly Gen<(Step, int, int, int)[]> _schedules = Gen.Select(_steps, Gen.Int[0, 999], Gen.Int[0, 63], Gen.Int[0, 15]).Array[10, 200];

    [Fact]
    public void PublishToSeveralGroups_RandomSchedule_DeliversOnceAndInOrder() =>
        _schedules.Sample(schedule => Run(schedule), iter: 2_000 * Effort.Factor);

    [Fact]
    public void SharedMessage_NotYetInAllLogs_IsNotDelivered()
    {
        var clock = new SequenceClock();
        using var stage = new Stage();
        var hearer = new Hearer(stage);
        var (one, other) = (Make.Log(clock, 1_024), Make.Log(clock, 1_024));
        var reader = new LogReader(clock);
        foreach (var log in new[] { one, other })
        {
            reader.Arrive(new Cursor(log, hearer.Connection.Writer, new Slice(stage.Pumps[0].Pump)));
        }

        Message message = new(Payload.Make(1, 4), MessageType.Binary);
        one.Append(message, null);
        var shared = Exclusions.Sharing(null);
        var sequence = clock.Next();
        one.Append(message, shared, sequence);
        // The uncommitted message must not be the end of an earlier run either.
        Assert.True(reader.TryTake(long.MaxValue, out var before));
        Assert.Equal(1, before.Messages);
        Assert.False(reader.TryTake(long.MaxValue, out _));
        other.Append(message, shared, sequence);
        Assert.False(reader.TryTake(long.MaxValue, out _));
        shared.Settle();
        Assert.True(reader.TryTake(long.MaxValue, out var run));
        Assert.Equal(1, run.Messages);
        Assert.False(reader.TryTake(long.MaxValue, out _));
    }

    [Fact]
    public void Join_SeveralGroupsWithHistory_MergesReplays()
    {
        using var stage = new Stage(configure: Act.History("/h*"));
        foreach (var id in Act.Range(1, 60)) stage.Publish(Recipients.Groups((id % 3) switch { 0 => ["/h1"], 1 => ["/h2"], _ => ["/h2", "/h1"] }), id);
        var hearer = new Hearer(stage);
        hearer.Join("/h2", Replay.Last(1_000));
        hearer.Join("/h1", Replay.Last(1_000));
        stage.Publish(Recipients.Groups("/h1", "/h2"), 61);
        stage.RunUntilIdle();
        Assert.Equal(Act.Range(1, 61), hearer.Got);
    }

    [Fact]
    public void PublishToSeveralGroups_RepeatedUnknownOrNoNames_IsAccepted()
    {
        using var stage = new Stage(configure: Act.History("/h"));
        var hearer = new Hearer(stage, "/home");
        hearer.Join("/a");
        Assert.Equal(new PublishResult(null, 1), stage.Publish(Recipients.Groups("/a", "/nobody", "/a"), 1));
        Assert.Equal(default, stage.Publish(Recipients.Groups("/nobody"), 2));
        Assert.Equal(default, stage.Publish(Recipients.Groups(), 3));
        // The message has no recipient, but the history keeps it.
        Assert.Equal(default, stage.Publish(Recipients.Groups("/nobody", "/h"), 4));
        hearer.Join("/h", Replay.Last(1));
        stage.RunUntilIdle();
        Assert.Equal([1, 4], hearer.Got);
    }

    [Fact]
    public void Leave_OneOfSeveralGroups_StillDeliversThroughTheOther()
    {
        using var stage = new Stage();
        var hearer = new Hearer(stage, "/home") { Sink = { Mode = WriteMode.Later } };
        hearer.Join("/a");
        hearer.Join("/b");
        stage.Publish(Recipients.Groups("/a", "/b"), 1);
        stage.RunUntilIdle();
        foreach (var id in Act.Range(2, 4)) stage.Publish(Recipients.Groups("/a", "/b"), id);
        hearer.Leave("/a");
        foreach (var id in Act.Range(5, 7)) stage.Publish(Recipients.Groups("/a", "/b"), id);
        hearer.Leave("/b");
        hearer.Join("/a");
        stage.Publish(Recipients.Groups("/a", "/b"), 8);
        hearer.Leave("/a");
        stage.Publish(Recipients.Groups("/a", "/b"), 9);
        hearer.Sink.Mode = WriteMode.AtOnce;
        hearer.Sink.CompleteWrite();
        stage.RunUntilIdle();
        Assert.Equal(Act.Range(1, 8), hearer.Got);
    }

    [Theory]
    [InlineData(SlowConsumer.Conflate)]
    [InlineData(SlowConsumer.SkipToLatest)]
    public void SlowMember_SkippingInOneGroup_GetsSharedMessagesThroughOtherGroupOnce(SlowConsumer whenSlow)
    {
        using var stage = new Stage(maxBacklog: 1 << 16, configure: options => options.Groups["/p*"] = new() { SlowConsumer = whenSlow });
        var hearer = new Hearer(stage) { Sink = { Mode = WriteMode.Later } };
        hearer.Join("/prices");
        hearer.Join("/chat");
        var id = 0;
        for (var round = 0; round < 5; round++)
        {
            for (var i = 0; i < 2_000; i++)
            {
                // Only a few messages go to the group that must not lose any.
                var recipients = i % 50 == 0 ? Recipients.Groups("/prices", "/chat") : Recipients.Group("/prices");
                stage.Broadcaster.Publish(new(Payload.Make(++id, 100), MessageType.Binary) { Key = "k" }, recipients);
                stage.RunUntilIdle();
            }

            hearer.Sink.CompleteWrite();
            stage.RunUntilIdle();
        }

        hearer.Sink.Mode = WriteMode.AtOnce;
        hearer.Sink.CompleteWrite();
        stage.RunUntilIdle();
        Assert.Null(hearer.Sink.Closed);
        Assert.Equal(hearer.Got.Order().Distinct(), hearer.Got);
        Assert.Empty(Act.Range(1, id).Where(number => (number - 1) % 50 == 0).Except(hearer.Got));
        Assert.Contains(id, hearer.Got);
        Assert.InRange(hearer.Got.Count, 200, id - 1_000);
    }

    static void Run((Step, int, int, int)[] schedule)
    {
        using var stage = new Stage(pumps: 2, maxBacklog: 64 << 20, configure: Act.History("/h*"));
        var peers = new List<Peer>();
        var histories = new Dictionary<string, List<int>> { ["/h1"] = [], ["/h2"] = [] };
        var lastId = 0;
        foreach (var (step, a, b, c) in schedule)
        {
            var name = _names[b % 4];
            var peer = peers.Count == 0 ? null : peers[a % peers.Count];
            Peer[] excluded = c < 5 ? [.. peers.Where((_, index) => (index + c) % 3 == 0)] : [];
            string[] exceptions = [.. excluded.Select(other => other.Hearer.Connection.Id)];
            switch (step)
            {
                case Step.Publish:
                    stage.Publish(Recipients.Group(name).Except(exceptions), ++lastId);
                    Expect([name]);
                    break;
                case Step.PublishToSeveral:
                    string[] names = [.. _names.Where((_, index) => (b & (1 << index)) != 0), .. b > 31 ? [name, "/nobody"] : Array.Empty<string>()];
                    if (c % 2 == 0) Array.Reverse(names);
                    var result = stage.Publish(Recipients.Groups(names).Except(exceptions), ++lastId);
                    Assert.Null(result.Position);
                    Assert.Equal(names.Distinct().Sum(each => peers.Count(other => other.Groups.Contains(each))), result.LocalRecipients);
                    Expect(names);
                    break;
                case Step.PublishToAll:
                    stage.Publish(Recipients.All.Except(exceptions), ++lastId);
                    Expect([""]);
                    break;
                case Step.PublishToUser:
                    stage.Publish(Recipients.User($"{a % 2}").Except(exceptions), ++lastId);
                    foreach (var other in peers.Where(other => other.IsThere && other.User == a % 2).Except(excluded)) other.Expected.Add(lastId);
                    break;
                case Step.Send when peer is { IsThere: true }:
                    stage.Publish(Recipients.Connection(peer.Hearer.Connection.Id), ++lastId);
                    peer.Expected.Add(lastId);
                    break;
                case Step.Come when peers.Count < 8:
                    var request = new FakeRequest();
                    request.Context.User = new(new ClaimsIdentity([new(ClaimTypes.NameIdentifier, $"{a % 2}")], "test"));
                    peers.Add(new(new Hearer(stage, name, stage.Pumps[a % 2], request) { Sink = { Mode = (WriteMode)(c % 2) } }, a % 2) { Groups = { name, "" } });
                    break;
                case Step.Go when peer is { IsThere: true }:
                    peer.Hearer.Go();
                    (peer.IsThere, peer.WasCutOff) = (false, true);
                    peer.Groups.Clear();
                    break;
                case Step.Join when peer is { IsThere: true }:
                    // A replay would correctly deliver a message a second time, so this join replays nothing.
                    Assert.Equal(peer.Groups.Add(name), peer.Hearer.Join(name, Replay.None).Joined);
                    break;
                case Step.Leave when peer is not null && peer.Groups.Remove(name):
                    peer.Hearer.Leave(name);
                    break;
                case Step.CompleteWrite:
                    peer?.Hearer.Sink.CompleteWrite();
                    break;
                case Step.SetMode when peer is not null:
                    peer.Hearer.Sink.Mode = (WriteMode)(c % 2);
                    break;
                case Step.RunTurn:
                    stage.Pumps[a % 2].RunTurn();
                    break;
            }

            void Expect(string[] names)
            {
                foreach (var other in peers.Where(other => names.Any(other.Groups.Contains)).Except(excluded)) other.Expected.Add(lastId);
                foreach (var each in names.Distinct().Where(histories.ContainsKey)) histories[each].Add(lastId);
            }
        }

        foreach (var peer in peers) peer.Hearer.Sink.Mode = WriteMode.AtOnce;
        do
        {
            stage.RunUntilIdle();
            foreach (var peer in peers) peer.Hearer.Sink.CompleteWrite();
        }
        while (stage.Pumps.Any(pump => pump.IsScheduled));
        foreach (var peer in peers)
        {
            peer.Hearer.AssertSound();
            Assert.Equal(peer.WasCutOff ? peer.Expected.Take(peer.Hearer.Got.Count) : peer.Expected, peer.Hearer.Got);
        }

        foreach (var (name, expected) in histories)
        {
            var late = new Hearer(stage);
            late.Join(name, Replay.Last(1_000));
            stage.RunUntilIdle();
            Assert.Equal(expected, late.Got);
            late.Go();
        }

        foreach (var peer in peers.Where(peer => peer.IsThere)) peer.Hearer.Go();
        stage.RunUntilIdle();
        stage.Time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(histories.Values.Count(history => history.Count > 0), stage.Broadcaster.Groups.Count);
    }

    sealed record Peer(Hearer Hearer, int User)
    {
        public HashSet<string> Groups { get; } = [];
        public List<int> Expected { get; } = [];
        public bool IsThere { get; set; } = true;
        public bool WasCutOff { get; set; }
    }
}
