using System.Runtime.CompilerServices;
using System.Text;
using CsCheck;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests which group states a fast or slow subscriber receives.</summary>
public sealed class GroupStateFeedTests
{
    const string Group = "g";

    [Fact]
    public void Take_SeveralChangesPerMember_ReturnsLatestStateOnce()
    {
        var (feed, subscription) = Subscribe();
        Assert.Equal(StatePicture.Snapshot(Group), Take(feed, subscription));
        Assert.Equal("", Take(feed, subscription));

        for (var i = 1; i <= 1_000; i++) feed.Set("a", null, State(i), At(i));
        feed.Set("b", "ann", State(1), At(1));
        feed.Set("b", "ann", default, At(2));
        Assert.Equal(StatePicture.Update(Group, StatePicture.CreateItem("a", null, "{\"k\":\"1000\"}", At(1_000))), Take(feed, subscription));
        feed.Set("b", "ann", State(2), At(3));
        feed.Set("a", null, default, At(1_001));
        Assert.Equal(
            StatePicture.Update(Group, StatePicture.CreateItem("b", "ann", "{\"k\":\"2\"}", At(3)), StatePicture.CreateItem("a", null, null, At(1_001))),
            Take(feed, subscription));
        feed.Set("a", null, default, At(1_002));
        feed.Set("c", null, default, At(1_002));
        Assert.Equal("", Take(feed, subscription));
    }

    [Fact]
    public void Subscription_StateChanges_IsNotifiedUntilRemoved()
    {
        var feed = new GroupStateFeed(Group);
        var news = 0;
        var subscription = new FeedSubscription(Group, _ => news++);
        feed.Add(subscription);
        Assert.Equal((1, true), (news, feed.HasSubscriptions));
        feed.Set("a", null, State(1), At(1));
        Assert.Equal(2, news);
        feed.Restart(subscription);
        Assert.Equal(3, news);
        feed.Remove(subscription);
        feed.Set("a", null, State(2), At(2));
        Assert.Equal((3, false), (news, feed.HasSubscriptions));
    }

    /// <summary>
    /// The feed forgets removals while a subscriber takes its changes. If the subscriber only received the remaining
    /// changes, the subscriber would show the forgotten members forever. Each round tests another order of the steps.
    /// </summary>
    [Fact]
    public async Task Take_FeedForgetsRemovalsMeanwhile_ReturnsSnapshot()
    {
        const int Members = 300, KeptRemovals = 278;
        for (var round = 0; round < 300 * Effort.Factor; round++)
        {
            var (feed, subscription) = Subscribe();
            var picture = new StatePicture(Group);
            for (var i = 0; i < Members; i++) feed.Set($"{i}", null, State(i), At(i));
            picture.Apply(Take(feed, subscription));
            for (var i = 0; i < KeptRemovals; i++) feed.Set($"{i}", null, default, At(Members + i));
            using var start = new Barrier(2);
            var removal = TestThread.Start(() =>
            {
                start.SignalAndWait(TestContext.Current.CancellationToken);
                feed.Set($"{KeptRemovals}", null, default, At(Members + KeptRemovals));
            });
            start.SignalAndWait(TestContext.Current.CancellationToken);
            for (var delay = round % 100; delay > 0; delay--) Thread.SpinWait(1);
            var taken = Take(feed, subscription);
            await removal;
            if (taken.Length > 0) picture.Apply(taken);
            while (Take(feed, subscription) is { Length: > 0 } rest) picture.Apply(rest);
            Assert.Equal(Enumerable.Range(KeptRemovals + 1, Members - KeptRemovals - 1).Select(i => $"{i}"), picture.Members.Select(member => member.Id));
        }
    }

    [Fact]
    public void Take_OneSubscriberFarBehind_ReturnsSnapshotOnlyToThatSubscriber()
    {
        const int Members = 2_000;
        var (feed, slow) = Subscribe();
        var quick = new FeedSubscription(Group, static _ => { });
        feed.Add(quick);
        var (received, seen) = (new StatePicture(Group), new StatePicture(Group));
        for (var i = 0; i < Members; i++) feed.Set($"{i}", null, State(i), At(i));
        received.Apply(Take(feed, slow));
        seen.Apply(Take(feed, quick));
        Assert.Equal((Members, Members), (received.States.Count(), seen.States.Count()));
        for (var round = 0; round < 20; round++)
        {
            for (var i = 0; i < Members; i++)
            {
                feed.Set($"{round} {i}", null, State(i), At(i));
                feed.Set($"{round} {i}", null, default, At(i));
                feed.Set(round == 0 ? $"{i}" : $"{round - 1} {i}", null, default, At(i));
                if (i % 100 == 99 && Take(feed, quick) is { Length: > 0 } update) seen.Apply(update);
            }
        }

        feed.Set("last", null, State(7), At(7));
        received.Apply(Take(feed, slow));
        seen.Apply(Take(feed, quick));
        Assert.Equal([("last", "{\"k\":\"7\"}")], received.States);
        Assert.Equal([("last", "{\"k\":\"7\"}")], seen.States);
        Assert.Equal((2, 1), (received.Snapshots, seen.Snapshots));
        Assert.Equal("", Take(feed, slow));
        Assert.Equal("", Take(feed, quick));
    }

    [Fact]
    public void Take_ManyStatesClearedBeforeSnapshot_CompletesSnapshotInParts()
    {
        var (feed, subscription) = Subscribe();
        for (var i = 0; i < 50; i++) feed.Set($"{i}", null, State(i), At(i));
        for (var i = 0; i < 1_000; i++)
        {
            feed.Set($"gone {i}", null, State(i), At(i));
            feed.Set($"gone {i}", null, default, At(i));
        }

        var picture = new StatePicture(Group);
        for (var i = 0; i < 50; i++)
        {
            picture.Apply(feed.Take(subscription, 1, out var hasMore));
            Assert.Equal(i < 49, hasMore);
        }

        Assert.Equal((1, 49, 50), (picture.Snapshots, picture.Updates, picture.States.Count()));
        Assert.Equal("", Take(feed, subscription));
    }

    /// <summary>Simulates many clients that subscribe after a network problem, while other clients change their states.</summary>
    [Fact]
    public void Take_ManySubscribersAndFewChanges_SharesOneSnapshot()
    {
        const int Members = 1_600;
        var feed = new GroupStateFeed(Group);
        for (var i = 0; i < Members; i++) feed.Set($"{i}", null, State(i), At(i));
        FeedSnapshot? shared = null;
        for (var i = 0; i < Members / 16; i++)
        {
            var subscription = new FeedSubscription(Group, static _ => { });
            feed.Add(subscription);
            var (picture, hasMore) = (new StatePicture(Group), true);
            while (hasMore) picture.Apply(feed.Take(subscription, 20_000, out hasMore));
            Assert.Equal((1, Members), (picture.Snapshots, picture.States.Count()));
            if (i > 0) Assert.Equal("{\"k\":\"changed\"}", picture[$"{i - 1}"]);
            shared ??= SnapshotOf(feed);
            Assert.Same(shared, SnapshotOf(feed));
            feed.Set($"{i}", null, "{\"k\":\"changed\"}"u8.ToArray(), At(i));
        }

        feed.Set("0", null, default, At(0));
        Assert.Null(SnapshotOf(feed));
    }

    /// <summary>
    /// Without a new snapshot, each further call of Take would copy all remaining states under the lock of the feed.
    /// </summary>
    [Fact]
    public void Take_ManyChangesWhilePartsRemain_ContinuesWithNewSnapshot()
    {
        const int Members = 1_000;
        var (feed, subscription) = Subscribe();
        for (var i = 0; i < Members; i++) feed.Set($"{i}", null, State(i), At(i));
        var picture = new StatePicture(Group);
        picture.Apply(feed.Take(subscription, 5_000, out var hasMore));
        Assert.True(hasMore);
        for (var i = 0; i < Members / 8; i++) feed.Set($"{i}", null, "{\"k\":\"changed\"}"u8.ToArray(), At(i));
        Assert.Null(SnapshotOf(feed));

        picture.Apply(feed.Take(subscription, 5_000, out hasMore));
        Assert.NotNull(SnapshotOf(feed));
        while (hasMore)
        {
            if (feed.Take(subscription, 5_000, out hasMore) is { IsEmpty: false } message) picture.Apply(message);
        }

        Assert.Equal((1, Members), (picture.Snapshots, picture.States.Count()));
        for (var i = 0; i < Members; i++)
            Assert.Equal(i < Members / 8 ? "{\"k\":\"changed\"}" : $"{{\"k\":\"{i}\"}}", picture[$"{i}"]);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100)]
    public void Take_RandomChangesAndParts_RebuildsCurrentStates(int others) =>
        Gen.Select(Gen.Int[0, 9], Gen.Int[0, 5], Gen.Int[0, 400]).Array[1, 150].Sample(
            steps =>
            {
                var (feed, subscription) = Subscribe();
                var (picture, states, at) = (new StatePicture(Group), new SortedDictionary<string, (string, long)>(StringComparer.Ordinal), 0);
                for (var i = 0; i < others; i++)
                {
                    feed.Set($"other {i}", null, State(i), At(0));
                    states[$"other {i}"] = ($"{{\"k\":\"{i}\"}}", 0);
                }

                foreach (var (step, who, number) in steps)
                {
                    at++;
                    switch (step)
                    {
                        case <= 3:
                            feed.Set($"{who}", null, State(number), At(at));
                            states[$"{who}"] = ($"{{\"k\":\"{number}\"}}", at);
                            break;
                        case <= 5:
                            feed.Set($"{who}", null, number < 200 ? default : "away"u8.ToArray(), At(at));
                            states.Remove($"{who}");
                            break;
                        case 6 when number < 40:
                            // This loop clears so many states that the feed forgets some of the cleared states.
                            for (var i = 0; i < 300; i++)
                            {
                                feed.Set($"{at} {i}", null, State(i), At(at));
                                if (i == 150 && number < 20) Look(number);
                                feed.Set($"{at} {i}", null, default, At(at));
                            }

                            break;
                        case 7 when number < 40:
                            feed.Restart(subscription);
                            break;
                        case 7 when number < 200:
                            // Another subscriber can cause the feed to encode a snapshot.
                            feed.Take(new FeedSubscription(Group, static _ => { }), number, out _);
                            break;
                        default:
                            Look(number);
                            break;
                    }
                }

                while (Look(10_000)) { }
                Assert.Equal(states.Select(state => (state.Key, state.Value.Item1, (long)state.Value.Item2)), picture.Members.Select(member => (member.Id, member.State, member.At)));

                bool Look(int most)
                {
                    var message = feed.Take(subscription, most, out var hasMore);
                    if (!message.IsEmpty) picture.Apply(message);
                    else Assert.False(hasMore);
                    return hasMore;
                }
            },
            iter: 125 * Effort.Factor);

    [Theory]
    [InlineData("{}", true)]
    [InlineData("""{"a":"b","c":"","a":"d"}""", true)]
    [InlineData(" { \"a\" : \"\\ud83d\\ude00\" } ", true)]
    [InlineData("", false)]
    [InlineData(" ", false)]
    [InlineData("null", false)]
    [InlineData("\"a\"", false)]
    [InlineData("[\"a\"]", false)]
    [InlineData("{", false)]
    [InlineData("""{"a"}""", false)]
    [InlineData("""{"a":}""", false)]
    [InlineData("""{"a":"b",}""", false)]
    [InlineData("""{"a":"b"}}""", false)]
    [InlineData("""{"a":"b"} {}""", false)]
    [InlineData("""{"a":1}""", false)]
    [InlineData("""{"a":{}}""", false)]
    [InlineData("""{"a":"\ud83d"}""", false)]
    [InlineData("""{"\ude00":"b"}""", false)]
    public void IsValid_AnyJson_AcceptsOnlyObjectsOfStrings(string json, bool isState) =>
        Assert.Equal(isState, GroupState.IsValid(Encoding.UTF8.GetBytes(json)));

    [Fact]
    public void Take_RandomStateBytes_ReturnsValidJson() =>
        Gen.OneOf(Gen.Byte.Array[0, 40], Gen.String["{}[]\",:\\u0dD8e1.k \n"].Select(Encoding.UTF8.GetBytes)).Sample(
            bytes =>
            {
                var (feed, subscription) = Subscribe();
                feed.Set("a", null, (byte[])[.. "{\"k\":\""u8, .. bytes, .. "\"}"u8], At(1));
                feed.Set("b", null, bytes, At(1));
                var message = feed.Take(subscription, 1_000, out _);
                Assert.True(System.Text.Unicode.Utf8.IsValid(message.Span));
                new StatePicture(Group).Apply(message);
            },
            iter: 1_000 * Effort.Factor);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_snapshot")]
    static extern ref FeedSnapshot? SnapshotOf(MemberFeed feed);

    static (GroupStateFeed, FeedSubscription) Subscribe()
    {
        var (feed, subscription) = (new GroupStateFeed(Group), new FeedSubscription(Group, static _ => { }));
        feed.Add(subscription);
        return (feed, subscription);
    }

    static string Take(GroupStateFeed feed, FeedSubscription subscription)
    {
        var message = feed.Take(subscription, int.MaxValue, out var hasMore);
        Assert.False(hasMore);
        return Encoding.UTF8.GetString(message.Span);
    }

    static byte[] State(int number) => Encoding.UTF8.GetBytes($"{{\"k\":\"{number}\"}}");

    static DateTimeOffset At(int milliseconds) => DateTimeOffset.FromUnixTimeMilliseconds(milliseconds);
}
