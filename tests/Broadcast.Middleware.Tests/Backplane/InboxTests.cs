using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Backplane;

/// <summary>The group through which other nodes reach this one: it has to be open before others find who is here.</summary>
public sealed class InboxTests : IDisposable
{
    readonly HandBackplane _backplane = new();
    Stage? _stage;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    Stage Node => _stage ??= new Stage(backplane: _backplane);

    public void Dispose()
    {
        _stage?.Dispose();
        Assert.Null(_backplane.Violation);
    }

    [Fact]
    public async Task A_lost_inbox_is_opened_again_and_whoever_was_there_is_told()
    {
        var ann = await ClusterHearer.ConnectAsync(Node);
        Node.RunUntilIdle();
        _backplane.Lose(_backplane.Inbox);

        await Eventually.True(() => _backplane.InboxSubscriptions == 2 && _backplane.IsSubscribed(_backplane.Inbox));
        await Eventually.True(() =>
        {
            Node.RunUntilIdle();
            return ann.Sink.Closed is not null;
        });
        ann.AssertLost();
        await Node.Broadcaster.Cluster!.Opening;
        var bob = await ClusterHearer.ConnectAsync(Node);
        await SendAsync(bob, 5);
        Node.RunUntilIdle();
        bob.AssertGot(5);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Who_comes_while_the_inbox_is_closed_is_found_when_it_is_open(bool wasOpen)
    {
        if (wasOpen) await Node.Broadcaster.Cluster!.Opening;
        _backplane.Failures[nameof(IBackplane.SubscribeAsync)] = new BackplaneException("Away.");
        if (wasOpen) _backplane.Lose(_backplane.Inbox);
        await Eventually.True(() => Node.Broadcaster.Cluster is not null && _backplane.InboxSubscriptions == (wasOpen ? 2 : 1));
        _backplane.Failures.Clear();
        var ann = await ClusterHearer.ConnectAsync(Node, user: "ann");
        var bob = await ClusterHearer.ConnectAsync(Node, user: "bob");
        bob.Go();
        Assert.DoesNotContain(_backplane.Members, IsPrivate);

        await OpenAsync();

        Assert.Equal(2, _backplane.Members.Count(IsPrivate)); // The connection and the user.
        await SendAsync(ann, 5);
        Node.RunUntilIdle();
        ann.AssertGot(5);
        ann.Go();
        Assert.Empty(_backplane.Members);
    }

    [Fact]
    public async Task An_inbox_that_is_lost_before_it_is_known_to_be_open_is_not_open()
    {
        _backplane.InboxAnswersLater = true;
        var ann = await ClusterHearer.ConnectAsync(Node);
        var first = await _backplane.AskedAsync();
        _backplane.Lose(_backplane.Inbox);
        var opening = Node.Broadcaster.Cluster!.Opening;
        first.Arrive();
        var second = await _backplane.AskedAsync();
        var bob = await ClusterHearer.ConnectAsync(Node);
        Assert.DoesNotContain(_backplane.Members, IsPrivate);

        second.Arrive();
        await opening;
        Assert.Equal(2, _backplane.Members.Count(IsPrivate));
        bob.AssertSound();
        ann.AssertSound();
    }

    /// <summary>It stands, though nobody was told in time; or the backplane has an error that no contract knows.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_inbox_of_which_nobody_knows_whether_it_stands_is_subscribed_to_anew(bool unexpected)
    {
        _backplane.InboxAnswersLater = true;
        await ClusterHearer.ConnectAsync(Node);
        var first = await _backplane.AskedAsync();
        _backplane.InboxAnswersLater = false;
        first.Answer.SetException(unexpected ? new InvalidOperationException("It is a bug.") : new BackplaneException("Not in time."));

        await OpenAsync();
        Assert.Equal(2, _backplane.InboxSubscriptions);
        Assert.Single(_backplane.Members, IsPrivate);
    }

    [Fact]
    public async Task An_inbox_that_cannot_be_opened_is_not_tried_for_ever()
    {
        _backplane.Failures[nameof(IBackplane.SubscribeAsync)] = new BackplaneException("Away.");
        Assert.NotNull(Node.Broadcaster.Cluster);
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
            return Node.Broadcaster.Cluster!.Opening.IsCompleted;
        });
        await Node.Broadcaster.Cluster!.Opening;
    }

    static bool IsPrivate((string Group, string Member) member) => member.Group.StartsWith('\u0001');

    ValueTask<Position> SendAsync(ClusterHearer hearer, int number)
    {
        var message = new ClusterMessage(new(BitConverter.GetBytes(number), MessageType.Binary), [], Node.Time.GetUtcNow(), 0).Encode();
        var request = new NodeRequest(NodeRequestKind.SendToConnection, 0, "other", hearer.Connection.Id) { Body = message };
        return _backplane.PublishAsync(_backplane.Inbox, request.Encode(), null, Token);
    }
}
