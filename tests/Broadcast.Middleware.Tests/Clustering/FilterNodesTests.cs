namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>Tests tags and subscription filters across nodes.</summary>
public sealed class FilterNodesTests : IDisposable
{
    static readonly SubscriptionFilter Eu = SubscriptionFilter.Parse("region = eu");

    readonly InMemoryCluster _cluster = new();
    readonly TestEngine _one, _two;

    public FilterNodesTests()
    {
        _one = new TestEngine(backplane: _cluster.CreateNode());
        _two = new TestEngine(backplane: _cluster.CreateNode());
    }

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _one.Dispose();
        _two.Dispose();
    }

    [Fact]
    public async Task Message_PublishedOnOtherNode_KeepsTags()
    {
        var ann = await Listener.ConnectAsync(_one, "/ws", filter: Eu);
        await PublishAsync(1, "eu", Recipients.Group("/ws"));
        await PublishAsync(2, "us", Recipients.Group("/ws"));
        await PublishAsync(3, "eu", Recipients.Everyone);
        await PublishAsync(4, "us", Recipients.Everyone);
        Run();
        ann.AssertGot(1, 3);
    }

    [Fact]
    public async Task Join_ConnectionOnOtherNode_SendsFilterToThatNode()
    {
        var ann = await Listener.ConnectAsync(_one);
        Assert.True((await _two.JoinAsync(ann.Connection.Id, "g", default, SubscriptionFilter.Any(Eu, SubscriptionFilter.TagEquals("region", "a b'c")), Token)).Joined);
        await PublishAsync(1, "us", Recipients.Group("g"));
        await PublishAsync(2, "a b'c", Recipients.Group("g"));
        Run();
        ann.AssertGot(2);
        // The filter stays in effect when the client leaves the group and joins again.
        Assert.True(ann.Connection.LeaveAsClient("g"));
        await ann.Connection.JoinAsClientAsync("g", null);
        await PublishAsync(3, "us", Recipients.Group("g"));
        await PublishAsync(4, "eu", Recipients.Group("g"));
        Run();
        ann.AssertGot(2, 4);
    }

    [Fact]
    public async Task Join_DelegateFilterForConnectionOnOtherNode_Throws()
    {
        var ann = await Listener.ConnectAsync(_one);
        var filter = SubscriptionFilter.FromDelegate(static _ => true);
        var error = await Assert.ThrowsAsync<ArgumentException>(async () => await _two.JoinAsync(ann.Connection.Id, "g", default, filter, Token));
        Assert.Contains("cannot travel to another node", error.Message, StringComparison.Ordinal);
        Assert.Equal(["/home"], ann.Connection.Groups);
    }

    /// <summary>
    /// Tests a message that arrives as one copy per group. One filter rejects the message, and another filter accepts
    /// the message.
    /// </summary>
    [Theory]
    [InlineData("/a", "/b")]
    [InlineData("/b", "/a")]
    public async Task PublishToSeveralGroups_OneFilterRejects_ArrivesOnce(string first, string second)
    {
        var ann = await Listener.ConnectAsync(_one);
        await ann.Connection.JoinAsync(first, filter: Eu, cancellationToken: Token);
        await ann.Connection.JoinAsync(second, filter: SubscriptionFilter.Parse("region != eu"), cancellationToken: Token);
        await ann.Connection.JoinAsync("/c", cancellationToken: Token);
        await PublishAsync(1, "eu", Recipients.Groups("/a", "/b"));
        await PublishAsync(2, "us", Recipients.Groups("/a", "/b"));
        await PublishAsync(3, "us", Recipients.Groups("/a", "/b", "/c"));
        Run();
        ann.AssertGot(1, 2, 3);
    }

    /// <summary>Tests a message that the node delivers itself, because the cluster is unreachable.</summary>
    [Fact]
    public async Task LocalDelivery_SubscriptionFilter_Applies()
    {
        var backplane = new ManualBackplane();
        using var node = new TestEngine(backplane: backplane);
        var ann = await Listener.ConnectAsync(node, "/ws", filter: Eu);
        var bob = await Listener.ConnectAsync(node, "/ws", filter: SubscriptionFilter.FromDelegate(static _ => throw new InvalidOperationException("A bug.")));
        var failure = new BackplaneException("unreachable") { DeliverLocally = true };
        backplane.Failures[nameof(IBackplane.PublishAsync)] = failure;
        foreach (var (id, region) in new[] { (1, "eu"), (2, "us"), (3, "eu") })
            Assert.True((await node.PublishAsync(MessageOf(id, region), Recipients.Groups("/ws", "/other"), Token)).IsLocalOnly);
        node.RunUntilIdle();
        ann.AssertGot(1, 3);
        Assert.Empty(bob.Got);
        Assert.Equal(EndReason.Failed, bob.Connection.EndReason);
    }

    async Task PublishAsync(int id, string region, Recipients recipients) => await _two.PublishAsync(MessageOf(id, region), recipients, Token);

    static Message MessageOf(int id, string region) => new(BitConverter.GetBytes(id), MessageType.Binary) { Tags = MessageTags.Create(("region", region)) };

    void Run()
    {
        _one.RunUntilIdle();
        _two.RunUntilIdle();
    }
}
