namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>Tests that the in-memory cluster removes unused groups, subscriptions and members.</summary>
public sealed class InMemoryClusterTests
{
    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Group_WithoutSubscriptionsMembersAndMessages_IsRemoved()
    {
        var (node, receiver) = Start();
        var history = new GroupOptions { HistoryMessages = 10, HistoryAge = TimeSpan.FromHours(1) };

        await node.PublishAsync("g", new byte[1], null, cancellationToken: Token);
        await node.GetMembersAsync("g", Token);
        await node.CountMembersAsync("g", Token);
        node.Unsubscribe("g");
        node.RemoveMember("g", "ann");
        Assert.Equal(0, _cluster.Count);

        await node.SubscribeAsync("g", null, Token);
        node.SetMember("g", "ann", default);
        var first = await node.PublishAsync("g", new byte[1], null, cancellationToken: Token);
        node.Unsubscribe("g");
        Assert.Equal(first with { Offset = 2 }, await node.PublishAsync("g", new byte[1], null, cancellationToken: Token));
        node.RemoveMember("g", "ann");
        Assert.Equal((0, 1), (_cluster.Count, receiver.Count));

        await node.PublishAsync("kept", new byte[1], history, cancellationToken: Token);
        Assert.Equal(1, _cluster.Count);
        Assert.Single((await node.SubscribeAsync("kept", history, Token)).History);
    }

    [Fact]
    public async Task Node_Disposed_RemovesSubscriptionsAndMembersOfNode()
    {
        var (one, _) = Start();
        var (two, _) = Start();
        foreach (var node in (IBackplane[])[one, two])
        {
            await node.SubscribeAsync("g", null, Token);
            node.SetMember("g", $"{node.GetHashCode()}", default);
        }

        ((IDisposable)one).Dispose();
        Assert.Equal((1, 1L), (_cluster.Count, await two.CountMembersAsync("g", Token)));
        ((IDisposable)two).Dispose();
        Assert.Equal(0, _cluster.Count);
    }

    /// <summary>Several threads use a group that the cluster creates and removes repeatedly.</summary>
    [Fact]
    public async Task Subscription_WhileGroupIsRemovedAndRecreated_MissesNoMessage()
    {
        const int Rounds = 20_000;
        var problems = await Task.WhenAll(Enumerable.Range(0, 3).Select(thread => Task.Run(async () =>
        {
            var (node, receiver) = Start();
            for (var i = 0; i < Rounds; i++)
            {
                var subscription = await node.SubscribeAsync("g", null, Token);
                var mine = await node.PublishAsync("g", new byte[1], null, cancellationToken: Token);
                // Other threads may publish to the group before and after this message, but the group must keep its
                // epoch.
                var (count, last) = receiver.Take();
                if (mine.Epoch != subscription.Position.Epoch) return $"{thread} {i}: another epoch, {subscription.Position} {mine}";
                if (last != mine && !(last.Epoch == mine.Epoch && last.Offset > mine.Offset)) return $"{thread} {i}: not received, {last} {mine}";
                if (count < mine.Offset - subscription.Position.Offset) return $"{thread} {i}: {count} received of {subscription.Position} to {mine}";
                node.Unsubscribe("g");
                receiver.Take();
            }

            return null;
        }, Token)));

        Assert.Equal([null, null, null], problems);
        Assert.Equal(0, _cluster.Count);
    }

    (IBackplane Node, Receiver Receiver) Start()
    {
        var (node, receiver) = (_cluster.CreateNode(), new Receiver());
        node.Start(receiver);
        return (node, receiver);
    }

    sealed class Receiver : IBackplaneReceiver
    {
        readonly Lock _gate = new();
        Position _last;

        public int Count { get; private set; }

        public void OnMessage(string group, Position position, ReadOnlyMemory<byte> message)
        {
            lock (_gate) (Count, _last) = (Count + 1, position);
        }

        public void OnTransientMessage(string group, Position after, ReadOnlyMemory<byte> message) =>
            throw new InvalidOperationException("This test has no transient messages.");

        public void OnLost(string group) => throw new InvalidOperationException("Nothing is lost in this test.");

        public (int Count, Position Last) Take()
        {
            lock (_gate)
            {
                var taken = (Count, _last);
                Count = 0;
                return taken;
            }
        }
    }
}
