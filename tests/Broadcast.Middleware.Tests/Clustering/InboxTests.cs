
namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>
/// Tests the inbox, the group through which other nodes reach this node. The inbox must be open before other nodes can
/// find the connections of this node.
/// </summary>
public sealed class InboxTests : IDisposable
{
    readonly ManualBackplane _backplane = new();
    TestEngine? _broadcast;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    TestEngine Node => _broadcast ??= new TestEngine(backplane: _backplane);

    public void Dispose()
    {
        _broadcast?.Dispose();
        Assert.Null(_backplane.Violation);
    }

    [Fact]
    public async Task Inbox_LostWhileClientIsConnected_IsReopenedAndClientIsClosed()
    {
        var ann = await Listener.ConnectAsync(Node);
        Node.RunUntilIdle();
        _backplane.Lose(_backplane.Inbox);

        await Eventually.True(() => _backplane.InboxSubscriptions == 2 && _backplane.IsSubscribed(_backplane.Inbox));
        await Eventually.True(() =>
        {
            Node.RunUntilIdle();
            return ann.Sink.Closed is not null;
        });
        ann.AssertLost();
        await Node.Cluster!.InboxOpening;
        var bob = await Listener.ConnectAsync(Node);
        await SendAsync(bob, 5);
        Node.RunUntilIdle();
        bob.AssertGot(5);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Connection_AdmittedWhileInboxIsClosed_IsFoundAfterOpening(bool wasOpen)
    {
        if (wasOpen) await Node.Cluster!.InboxOpening;
        _backplane.Failures[nameof(IBackplane.SubscribeAsync)] = new BackplaneException("Unreachable.");
        if (wasOpen) _backplane.Lose(_backplane.Inbox);
        await Eventually.True(() => Node.Cluster is not null && _backplane.InboxSubscriptions == (wasOpen ? 2 : 1));
        _backplane.Failures.Clear();
        var ann = await Listener.ConnectAsync(Node, user: "ann");
        var bob = await Listener.ConnectAsync(Node, user: "bob");
        bob.Disconnect();
        Assert.DoesNotContain(_backplane.Members, IsPrivate);

        await OpenAsync();

        Assert.Equal(2, _backplane.Members.Count(IsPrivate)); // One entry is for the connection, and one entry is for the user.
        await SendAsync(ann, 5);
        Node.RunUntilIdle();
        ann.AssertGot(5);
        ann.Disconnect();
        Assert.Empty(_backplane.Members);
    }

    [Fact]
    public async Task Inbox_LostBeforeSubscriptionAnswer_OpensAfterNextSubscription()
    {
        _backplane.DefersInboxSubscription = true;
        var ann = await Listener.ConnectAsync(Node);
        var first = await _backplane.NextSubscriptionAsync();
        _backplane.Lose(_backplane.Inbox);
        var opening = Node.Cluster!.InboxOpening;
        first.Complete();
        var second = await _backplane.NextSubscriptionAsync();
        var bob = await Listener.ConnectAsync(Node);
        Assert.DoesNotContain(_backplane.Members, IsPrivate);

        second.Complete();
        await opening;
        Assert.Equal(2, _backplane.Members.Count(IsPrivate));
        bob.AssertNoViolation();
        ann.AssertNoViolation();
    }

    /// <summary>
    /// The backplane throws a BackplaneException or an unexpected exception. The backplane may have subscribed in spite
    /// of the exception.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Inbox_SubscribeFails_IsSubscribedAgain(bool unexpected)
    {
        _backplane.DefersInboxSubscription = true;
        await Listener.ConnectAsync(Node);
        var first = await _backplane.NextSubscriptionAsync();
        _backplane.DefersInboxSubscription = false;
        first.Answer.SetException(unexpected ? new InvalidOperationException("It is a bug.") : new BackplaneException("Not in time."));

        await OpenAsync();
        Assert.Equal(2, _backplane.InboxSubscriptions);
        Assert.Single(_backplane.Members, IsPrivate);
    }

    [Fact]
    public async Task Inbox_NodeDisposed_IsNotSubscribedAgain()
    {
        _backplane.Failures[nameof(IBackplane.SubscribeAsync)] = new BackplaneException("Unreachable.");
        Assert.NotNull(Node.Cluster);
        Assert.Equal(1, _backplane.InboxSubscriptions);
        Node.Dispose();

        await OpenAsync();
        Assert.Equal(1, _backplane.InboxSubscriptions);
    }

    async Task OpenAsync()
    {
        await Eventually.True(() =>
        {
            Node.Time.Advance(TimeSpan.FromSeconds(1));
            return Node.Cluster!.InboxOpening.IsCompleted;
        });
        await Node.Cluster!.InboxOpening;
    }

    static bool IsPrivate((string Group, string Member) member) => member.Group.StartsWith('\u0001');

    ValueTask<Position> SendAsync(Listener listener, int number)
    {
        var message = new ClusterMessage(new(BitConverter.GetBytes(number), MessageType.Binary), [], Node.Time.GetUtcNow(), 0).Encode();
        var request = new SendToConnection("other", listener.Connection.Id, message);
        return _backplane.PublishAsync(_backplane.Inbox, NodeCodec.Encode(request), null, Token);
    }
}
