using System.Net.WebSockets;
using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>Tests a node whose backplane completes operations in the order that the test chooses.</summary>
public sealed class ClusterNodeTests : IDisposable
{
    const string Home = "/home";

    readonly ManualBackplane _backplane = new();
    readonly TestEngine _broadcast;

    public ClusterNodeTests() => _broadcast = new TestEngine(
        backplane: _backplane,
        configure: options => options.Groups["kept"] = new() { HistoryMessages = 100, HistoryAge = TimeSpan.FromMinutes(1) });

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _broadcast.Dispose();
        Assert.Null(_backplane.Violation);
    }

    [Fact]
    public async Task Subscribe_MessagesArriveBeforeAnswer_AppendsMessagesOnceAfterHistory()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        for (var i = 1; i <= 3; i++) _backplane.Publish("kept", Encode(i));
        _backplane.SetHistory("kept", 2);
        _backplane.DefersSubscriptions = true;
        var joining = ann.Connection.JoinAsync("kept", Replay.Last(10), cancellationToken: Token).AsTask();
        var pending = await _backplane.NextSubscriptionAsync();

        // The history already contains the first delivered message. The second message has another epoch. The fourth
        // message repeats the third message.
        _backplane.Deliver("kept", new(1, 3), Encode(3));
        _backplane.Deliver("kept", new(7, 4), Encode(70));
        _backplane.Deliver("kept", _backplane.Publish("kept", Encode(4)), Encode(4));
        _backplane.Deliver("kept", new(1, 4), Encode(4));
        _backplane.Deliver("kept", _backplane.Publish("kept", Encode(5)), Encode(5));
        pending.Complete();

        Assert.Equal(new JoinResult(true, null, new(1, 1)), await joining);
        Assert.Equal(new(1, 6), (await PublishAsync("kept", 6)).Position);
        _broadcast.RunUntilIdle();
        ann.AssertGot(2, 3, 4, 5, 6);
        Assert.Equal(new(1, 6), new Position(_broadcast.Groups.Find("kept")!.Epoch, _broadcast.Groups.Find("kept")!.NextOffset - 1));
    }

    [Fact]
    public async Task Resubscribe_LateMessageOfOldSubscription_IsIgnored()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("kept", cancellationToken: Token);
        await PublishAsync("kept", 1);
        Assert.True(ann.Connection.Leave("kept"));
        Assert.False(_backplane.IsSubscribed("kept"));
        var late = _backplane.Publish("kept", Encode(2));
        _backplane.Deliver("kept", late, Encode(2));

        await ann.Connection.JoinAsync("kept", cancellationToken: Token);
        _backplane.Deliver("kept", late, Encode(2));
        await PublishAsync("kept", 3);

        _broadcast.RunUntilIdle();
        ann.AssertGot(1, 3);
    }

    [Fact]
    public async Task Join_TwoMembersAtOnce_ShareOneSubscription()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        var bob = await Listener.ConnectAsync(_broadcast);
        _backplane.DefersSubscriptions = true;
        var joining = Task.WhenAll(ann.Connection.JoinAsync("g", cancellationToken: Token).AsTask(), bob.Connection.JoinAsync("g", cancellationToken: Token).AsTask(), bob.Connection.JoinAsync("g", cancellationToken: Token).AsTask());
        (await _backplane.NextSubscriptionAsync()).Complete();

        Assert.Equal(2, (await joining).Count(static joined => joined.Joined));
        bob.Connection.Leave("g");
        Assert.True(_backplane.IsSubscribed("g"));
        ann.Connection.Leave("g");
        Assert.False(_backplane.IsSubscribed("g"));
    }

    /// <summary>
    /// A client that has received the opening may expect every later message. So the opening must not precede the join
    /// of the group of all connections.
    /// </summary>
    [Fact]
    public async Task Opening_JoinOfGroupOfAllConnectionsWaits_FollowsJoin()
    {
        var (connection, sink, received, opening) = StartOpening();
        (await _backplane.NextSubscriptionAsync()).Complete();
        var everyone = await _backplane.NextSubscriptionAsync();
        Assert.Equal("", everyone.Group);
        Assert.True(connection.IsIn(Home));
        await _broadcast.PublishTextAsync("to the home group", Recipients.Group(Home), Token);
        _broadcast.RunUntilIdle();
        Assert.Empty(received);

        everyone.Complete();
        Assert.True((await opening).Joined);
        await _broadcast.PublishTextAsync("to all", Recipients.Everyone, Token);
        _broadcast.RunUntilIdle();

        Assert.Collection(
            received,
            text => Assert.Contains("\"connected\"", text),
            text => Assert.Contains("to the home group", text),
            text => Assert.Contains("to all", text));
        Assert.Null(sink.Violation);
    }

    [Fact]
    public async Task Opening_ConnectionClosedBeforeJoin_PrecedesEarlierMessagesAndCloseFrame()
    {
        var (connection, sink, received, opening) = StartOpening();
        (await _backplane.NextSubscriptionAsync()).Complete();
        var everyone = await _backplane.NextSubscriptionAsync();
        await _broadcast.PublishTextAsync("to the home group", Recipients.Group(Home), Token);
        await _broadcast.PublishTextAsync("to the connection", Recipients.Connection(connection.Id), Token);
        _broadcast.RunUntilIdle();
        Assert.Empty(received);

        connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.PolicyViolation, null);
        await _broadcast.PublishTextAsync("late", Recipients.Connection(connection.Id), Token);
        _broadcast.RunUntilIdle();

        Assert.Equal(WebSocketCloseStatus.PolicyViolation, sink.Closed);
        Assert.Collection(
            received,
            text => Assert.Contains("\"connected\"", text),
            text => Assert.Contains("to the home group", text),
            text => Assert.Contains("to the connection", text),
            text => Assert.Contains("\"disconnected\"", text));
        everyone.Complete();
        await opening;
        _broadcast.RunUntilIdle();
        Assert.Null(sink.Violation);
    }

    [Fact]
    public async Task Opening_JoinOfGroupOfAllConnectionsFails_WaitsForCloseRequest()
    {
        var (connection, sink, received, opening) = StartOpening();
        (await _backplane.NextSubscriptionAsync()).Complete();
        (await _backplane.NextSubscriptionAsync()).Answer.SetException(new BackplaneException("Unreachable."));
        await Assert.ThrowsAsync<BackplaneException>(() => opening);
        _broadcast.RunUntilIdle();
        Assert.Empty(received);

        connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.PolicyViolation, null);
        _broadcast.RunUntilIdle();

        Assert.Equal(WebSocketCloseStatus.PolicyViolation, sink.Closed);
        Assert.Null(sink.Violation);
    }

    [Fact]
    public async Task Subscription_AnswerFails_IsEndedAndCreatedAgainByNextJoin()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        _backplane.DefersSubscriptions = true;
        var joining = ann.Connection.JoinAsync("g", cancellationToken: Token).AsTask();
        // The backplane has subscribed, but its answer does not arrive in time.
        (await _backplane.NextSubscriptionAsync()).Answer.SetException(new BackplaneException("Not in time."));
        await Assert.ThrowsAsync<BackplaneException>(() => joining);
        Assert.False(_backplane.IsSubscribed("g"));

        _backplane.DefersSubscriptions = false;
        Assert.True((await ann.Connection.JoinAsync("g", cancellationToken: Token)).Joined);
        await PublishAsync("g", 1);
        _broadcast.RunUntilIdle();
        ann.AssertGot(1);
    }

    [Fact]
    public async Task Subscription_LostBeforeAnswer_IsCreatedAgain()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        _backplane.DefersSubscriptions = true;
        var joining = ann.Connection.JoinAsync("g", cancellationToken: Token).AsTask();
        var first = await _backplane.NextSubscriptionAsync();
        _backplane.Lose("g");
        first.Complete();
        (await _backplane.NextSubscriptionAsync()).Complete();

        Assert.True((await joining).Joined);
        await PublishAsync("g", 1);
        _broadcast.RunUntilIdle();
        ann.AssertGot(1);
    }

    /// <summary>
    /// The node cannot know which subscription was lost. So the node ends its current subscription and subscribes again.
    /// </summary>
    [Fact]
    public async Task LateLossReport_BeforeSubscriptionAnswer_SubscribesAgain()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("g", cancellationToken: Token);
        ann.Connection.Leave("g");
        _backplane.DefersSubscriptions = true;
        var joining = ann.Connection.JoinAsync("g", cancellationToken: Token).AsTask();
        var first = await _backplane.NextSubscriptionAsync();
        _backplane.ReportLossLate("g");
        var bob = await BobAsync();
        first.Complete();
        (await _backplane.NextSubscriptionAsync()).Complete();

        Assert.True((await joining).Joined);
        Assert.True((await bob).Joined);
        await PublishAsync("g", 1);
        _broadcast.RunUntilIdle();
        ann.AssertGot(1);

        async Task<Task<JoinResult>> BobAsync()
        {
            var bob = _broadcast.Admit(_broadcast.Pumps[0], Home);
            bob.Writer.Open(new ManualSink(static _ => { }));
            await Task.Yield();
            return bob.JoinAsync("g").AsTask();
        }
    }

    [Fact]
    public async Task LateLossReport_AfterNextSubscription_NotifiesMembersAndAllowsNewJoins()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("g", cancellationToken: Token);
        ann.Connection.Leave("g");
        await ann.Connection.JoinAsync("g", cancellationToken: Token);
        _backplane.ReportLossLate("g");
        _broadcast.RunUntilIdle();
        ann.AssertLost();

        var bob = await Listener.ConnectAsync(_broadcast);
        await bob.Connection.JoinAsync("g", cancellationToken: Token);
        await PublishAsync("g", 1);
        ann.Disconnect();
        await PublishAsync("g", 2);
        _broadcast.RunUntilIdle();
        bob.AssertGot(1, 2);
        bob.Disconnect();
        AssertNothingIsLeft();
    }

    /// <summary>Tests that a connection is notified if it was a member when messages were lost, even if it leaves afterwards.</summary>
    [Fact]
    public async Task Leave_AfterGroupLoss_NotifiesConnection()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("g", cancellationToken: Token);
        await PublishAsync("g", 1);
        _backplane.Lose("g");
        Assert.True(ann.Connection.Leave("g"));
        _broadcast.RunUntilIdle();
        ann.AssertLost(1);
    }

    [Fact]
    public async Task Leave_BeforeGroupLoss_KeepsConnection()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        var bob = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("g", cancellationToken: Token);
        await bob.Connection.JoinAsync("g", cancellationToken: Token);
        await PublishAsync("g", 1);
        Assert.True(ann.Connection.Leave("g"));
        _backplane.Lose("g");
        _broadcast.RunUntilIdle();
        ann.AssertGot(1);
        bob.AssertLost(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task CanceledJoin_WhileWaitingForCluster_LeavesNoClusterState(bool fails)
    {
        using var unobserved = new UnobservedExceptions();
        var ann = await Listener.ConnectAsync(_broadcast);
        _backplane.DefersSubscriptions = true;
        for (var i = 0; i < 20; i++) await GiveUpAsync("g" + i);
        ann.Disconnect();
        AssertNothingIsLeft();
        unobserved.AssertNoneOfOurs();

        async Task GiveUpAsync(string group)
        {
            using var giveUp = new CancellationTokenSource();
            var joining = _broadcast.JoinAsync(ann.Connection.Id, group, giveUp.Token).AsTask();
            var pending = await _backplane.NextSubscriptionAsync();
            await giveUp.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => joining.WaitAsync(Eventually.Patience, Token));

            if (fails) pending.Answer.SetException(new BackplaneException("Unreachable."));
            else pending.Complete();
            await Eventually.True(() => !_backplane.IsSubscribed(group));
        }
    }

    [Fact]
    public async Task CanceledJoin_WhileOtherJoinsWait_DoesNotAffectOtherJoins()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        var bob = await Listener.ConnectAsync(_broadcast);
        _backplane.DefersSubscriptions = true;
        using var giveUp = new CancellationTokenSource();
        var (joining, joiningToo) = (_broadcast.JoinAsync(ann.Connection.Id, "g", giveUp.Token).AsTask(), bob.Connection.JoinAsync("g", cancellationToken: Token).AsTask());
        var pending = await _backplane.NextSubscriptionAsync();
        await giveUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => joining.WaitAsync(Eventually.Patience, Token));
        pending.Complete();

        Assert.True((await joiningToo).Joined);
        await PublishAsync("g", 1);
        _broadcast.RunUntilIdle();
        bob.AssertGot(1);
        ann.AssertGot();
    }

    [Fact]
    public async Task GroupLoss_OtherConnectionsExist_NotifiesOnlyMembers()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        var bob = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("g", cancellationToken: Token);
        await PublishAsync("g", 1);
        _backplane.Lose("g");
        _broadcast.RunUntilIdle();
        ann.AssertLost(1);

        await bob.Connection.JoinAsync("g", cancellationToken: Token);
        await PublishAsync("g", 2);
        ann.Disconnect();
        await PublishAsync("g", 3);
        _broadcast.RunUntilIdle();
        bob.AssertGot(2, 3);
        bob.Disconnect();
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task OffsetGap_InGroupWithMembers_NotifiesMembersOfLoss()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("g", cancellationToken: Token);
        await PublishAsync("g", 1);
        _backplane.Publish("g", Encode(2));
        await PublishAsync("g", 3);
        _broadcast.RunUntilIdle();
        ann.AssertLost(1);

        var bob = await Listener.ConnectAsync(_broadcast);
        await bob.Connection.JoinAsync("g", cancellationToken: Token);
        Assert.Equal(new(1, 4), (await PublishAsync("g", 4)).Position);
        _broadcast.RunUntilIdle();
        bob.AssertGot(4);
    }

    [Fact]
    public async Task OffsetGap_BeforeSubscriptionAnswer_SubscribesAgain()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        _backplane.DefersSubscriptions = true;
        var joining = ann.Connection.JoinAsync("g", cancellationToken: Token).AsTask();
        var pending = await _backplane.NextSubscriptionAsync();
        _backplane.Publish("g", Encode(1));
        _backplane.Deliver("g", _backplane.Publish("g", Encode(2)), Encode(2));
        pending.Complete();
        (await _backplane.NextSubscriptionAsync()).Complete();

        Assert.Equal(new JoinResult(true, null, new(1, 2)), await joining);
        await PublishAsync("g", 3);
        _broadcast.RunUntilIdle();
        ann.AssertGot(3);
    }

    [Theory]
    [InlineData(new byte[0])]
    [InlineData(new byte[] { 2 })]
    public async Task Join_AfterUnreadableMessage_ReceivesNewMessages(byte[] unreadable)
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("g", cancellationToken: Token);
        await PublishAsync("g", 1);
        await _backplane.PublishAsync("g", unreadable, null, Token);
        await PublishAsync("g", 2);
        var bob = await Listener.ConnectAsync(_broadcast);
        await bob.Connection.JoinAsync("g", cancellationToken: Token);
        await PublishAsync("g", 3);

        _broadcast.RunUntilIdle();
        ann.AssertLost(1);
        bob.AssertGot(3);
        ann.Disconnect();
        await PublishAsync("g", 4);
        _broadcast.RunUntilIdle();
        bob.AssertGot(3, 4);
        bob.Disconnect();
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task RetainedMessage_AlsoInHistory_IsDecodedOnce()
    {
        var (backplane, logs) = (new ManualBackplane(), new FakeLogCollector());
        using var loggers = new LoggerFactory([new FakeLoggerProvider(logs)]);
        using var broadcast = new TestEngine(backplane: backplane, loggers: loggers);
        var ann = await Listener.ConnectAsync(broadcast);
        for (var i = 1; i <= 3; i++) backplane.Publish("kept", Encode(i));
        backplane.SetHistory("kept", 2);
        backplane.DefersSubscriptions = true;
        var joining = ann.Connection.JoinAsync("kept", cancellationToken: Token).AsTask();
        var pending = await backplane.NextSubscriptionAsync();
        // The history contains the messages 2 and 3. The node logs an error for each invalid message that it decodes.
        var retained = Enumerable.Range(1, 3).Select(static offset => new RetainedMessage(offset, new byte[] { 1, 2, 3 }));
        pending.Answer.SetResult(new(pending.Subscription.Position, pending.Subscription.History) { Retained = [.. retained] });
        await joining;
        Assert.Single(logs.GetSnapshot(), static record => record.Level == LogLevel.Error);
    }

    [Fact]
    public async Task Message_TimestampOutOfRange_NotifiesMembersOfLoss()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("g", cancellationToken: Token);
        var message = new ClusterMessage(new(new byte[4], MessageType.Binary), [], default, 0).Encode().ToArray();
        // The timestamp follows the version and the flags.
        BitConverter.TryWriteBytes(message.AsSpan(2), long.MaxValue);

        await _backplane.PublishAsync("g", message, null, Token);

        _broadcast.RunUntilIdle();
        ann.AssertLost();
    }

    [Fact]
    public async Task Message_WithInvalidTags_IsReportedAndAffectsOnlyItsGroup()
    {
        var (backplane, logs) = (new ManualBackplane(), new FakeLogCollector());
        using var loggers = new LoggerFactory([new FakeLoggerProvider(logs)]);
        using var broadcast = new TestEngine(backplane: backplane, loggers: loggers);
        var bob = await Listener.ConnectAsync(broadcast);
        await bob.Connection.JoinAsync("other", cancellationToken: Token);
        (string Key, string Value)[][] invalid =
        [
            [], [.. Enumerable.Range(0, 17).Select(static i => ($"k{i}", "v"))], [("k", "v"), ("k", "w")], [("not", "v")],
            [("", "v")], [(new('k', 33), "v")], [("k", new('v', 129))], [("k", "\0")],
        ];
        Assert.Equal("v", ClusterMessage.Decode(EncodeWithTags(("k", "v"))).Message.Tags!["k"]);
        for (var i = 0; i < invalid.Length; i++)
        {
            var ann = await Listener.ConnectAsync(broadcast);
            await ann.Connection.JoinAsync("g", cancellationToken: Token);
            await backplane.PublishAsync("g", EncodeWithTags(("k", "v")), null, Token);
            await backplane.PublishAsync("g", EncodeWithTags(invalid[i]), null, Token);
            await backplane.PublishAsync("other", Encode(i), null, Token);
            broadcast.RunUntilIdle();
            ann.AssertLost(7);
            ann.Disconnect();
        }

        bob.AssertGot([.. Enumerable.Range(0, invalid.Length)]);
        var errors = logs.GetSnapshot().Where(static record => record.Level == LogLevel.Error).ToList();
        Assert.Equal(invalid.Length, errors.Count);
        Assert.All(errors, static record => Assert.Contains("a message with invalid tags", record.Exception!.Message, StringComparison.Ordinal));
    }

    [Fact]
    public async Task History_WithUnreadableMessage_KeepsOnlyLaterMessages()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        _backplane.Publish("kept", Encode(1));
        _backplane.Publish("kept", [1, 2, 3]);
        _backplane.Publish("kept", Encode(3));
        _backplane.SetHistory("kept", 3);

        Assert.False((await ann.Connection.JoinAsync("kept", Replay.After(new(1, 0)), cancellationToken: Token)).Recovered);
        ann.Connection.Leave("kept");
        Assert.Equal(new JoinResult(true, true, new(1, 2)), await ann.Connection.JoinAsync("kept", Replay.After(new(1, 2)), cancellationToken: Token));
        _broadcast.RunUntilIdle();
        ann.AssertGot(3);
    }

    /// <summary>Each publisher sets the time of its messages with its own clock, and these clocks differ.</summary>
    [Fact]
    public async Task Recovery_WithClockSkew_LosesNoMessage()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("kept", cancellationToken: Token);
        for (var i = 0; i < 8; i++) await _backplane.PublishAsync("kept", Encode(i, i == 3 ? TimeSpan.FromMinutes(-2) : TimeSpan.Zero), null, Token);
        _broadcast.RunUntilIdle();
        ann.AssertGot([.. Enumerable.Range(0, 8)]);

        for (var has = 0; has <= 8; has++)
        {
            var bob = await Listener.ConnectAsync(_broadcast);
            var joined = await bob.Connection.JoinAsync("kept", Replay.After(new(1, has)), cancellationToken: Token);
            _broadcast.RunUntilIdle();
            if (joined.Recovered is true) bob.AssertGot([.. Enumerable.Range(has, 8 - has)]);
            bob.Disconnect();
        }
    }

    public static MatrixTheoryData<string, string> Waits => new(["Leave", "Connect", "Join"], ["message", "private message", "loss", "loss of the inbox"]);

    /// <summary>
    /// Tests for a deadlock. The backplane holds its own lock during a call. Another thread holds locks of the library
    /// and waits for the lock of the backplane.
    /// </summary>
    [Theory]
    [MemberData(nameof(Waits))]
    public async Task Deliver_WhileLockHolderWaitsForBackplane_DoesNotDeadlock(string operation, string delivery)
    {
        var ann = await Listener.ConnectAsync(_broadcast, user: "ann");
        await ann.Connection.JoinAsync("g", cancellationToken: Token);
        await ann.Connection.JoinAsync("h", cancellationToken: Token);
        var isWaiting = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var isDelivered = new ManualResetEventSlim();
        _backplane.OnUnsubscribing = _backplane.OnSettingMember = () =>
        {
            isWaiting.TrySetResult();
            isDelivered.Wait(2 * Eventually.Patience, Token);
        };
        var acting = Task.Run(
            () => operation switch
            {
                "Leave" => Task.FromResult(ann.Connection.Leave("g")),
                "Connect" => Task.FromResult(_broadcast.Admit(_broadcast.Pumps[0], Home)),
                _ => ann.Connection.JoinAsync("i").AsTask(),
            },
            Token);
        await isWaiting.Task.WaitAsync(Eventually.Patience, Token);
        var delivering = Task.Run(
            () =>
            {
                foreach (var group in (string[])["g", "h", "i"]) Deliver(group);
            },
            Token);
        var first = await Task.WhenAny(delivering, Task.Delay(Eventually.Patience, Token));
        (_backplane.OnUnsubscribing, _backplane.OnSettingMember) = (null, null);
        isDelivered.Set();

        // The delivery must complete before the other call. In a deadlock, neither task completes.
        Assert.Same(delivering, first);
        await delivering;
        await acting;
        await _broadcast.Cluster!.InboxOpening;

        void Deliver(string group)
        {
            if (delivery == "message") _backplane.Deliver(group, _backplane.Publish(group, Encode(1)), Encode(1));
            else if (delivery == "loss") _backplane.ReportLossLate(group);
            else if (delivery == "loss of the inbox") _backplane.ReportLossLate(_backplane.Inbox);
            else _backplane.Deliver(_backplane.Inbox, new(1, 1), NodeCodec.Encode(new SendToUser("other", "ann", Encode(1))));
        }
    }

    [Fact]
    public async Task Deliver_InvalidInboxMessages_DoesNotThrow()
    {
        await _backplane.PublishAsync(_backplane.Inbox, NodeCodec.Encode(new SendToUser("", "", Encode(1))), null, Token);
        await _backplane.PublishAsync(_backplane.Inbox, NodeCodec.Encode(new SendToConnection("", "x", new byte[1])), null, Token);
        await _backplane.PublishAsync(_backplane.Inbox, new byte[] { 77 }, null, Token);
        await _broadcast.Cluster!.InboxOpening;
        // The node did not lose its inbox, so the node did not subscribe to the inbox again.
        Assert.Equal(1, _backplane.InboxSubscriptions);
    }

    /// <summary>Tests that no message is lost when the clocks of publishers are wrong by any amount.</summary>
    [Fact]
    public async Task Recovery_WithExtremeClocks_LosesNoMessage()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("kept", cancellationToken: Token);
        DateTimeOffset[] times = [DateTimeOffset.MaxValue, DateTimeOffset.UnixEpoch, Now(default), DateTimeOffset.MinValue, DateTimeOffset.MaxValue];
        for (var i = 0; i < times.Length; i++)
            await _backplane.PublishAsync("kept", new ClusterMessage(new(BitConverter.GetBytes(i), MessageType.Binary), [], times[i], 0).Encode(), null, Token);
        _broadcast.RunUntilIdle();
        ann.AssertGot(0, 1, 2, 3, 4);

        for (var has = 0; has <= times.Length; has++)
        {
            var bob = await Listener.ConnectAsync(_broadcast);
            // The log treats no message as older than the message before it. Here, the first message has the latest possible time.
            Assert.True((await bob.Connection.JoinAsync("kept", Replay.After(new(1, has)), cancellationToken: Token)).Recovered);
            _broadcast.RunUntilIdle();
            bob.AssertGot([.. Enumerable.Range(has, times.Length - has)]);
            bob.Disconnect();
        }

        _broadcast.Time.Advance(TimeSpan.FromMinutes(2));
        var late = await Listener.ConnectAsync(_broadcast);
        Assert.False((await late.Connection.JoinAsync("kept", Replay.After(new(1, 0)), cancellationToken: Token)).Recovered);
    }

    [Fact]
    public async Task StalledClient_OfLostGroup_IsAborted()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        ann.Sink.Mode = WriteMode.Later;
        await _broadcast.PublishAsync(new Message(BitConverter.GetBytes(1), MessageType.Binary), Recipients.Everyone, cancellationToken: Token);
        _broadcast.RunUntilIdle();
        Assert.True(ann.Sink.IsWriting);

        // The loss of the group of all connections also stops the heartbeats of that group.
        _backplane.Lose("");
        _broadcast.RunUntilIdle();
        _broadcast.Time.Advance(_broadcast.Options.CloseTimeout);

        await Eventually.True(() => ann.Request.IsAborted);
        ann.Sink.FailWrite();
        ann.Disconnect();
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task SlowClient_OfLostGroup_ReceivesPendingMessagesBeforeClose()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        ann.Sink.Mode = WriteMode.Later;
        for (var i = 1; i <= 3; i++)
        {
            await PublishAsync(Home, i);
            _broadcast.RunUntilIdle();
        }

        _backplane.Lose(Home);
        _broadcast.RunUntilIdle();
        Assert.Equal(CloseStatus.TryAgainLater, ann.Connection.Writer.ClosingStatus);
        ann.Sink.Mode = WriteMode.AtOnce;
        ann.Sink.CompleteWrite();
        _broadcast.RunUntilIdle();
        ann.AssertLost(1, 2, 3);
    }

    [Theory]
    [InlineData(nameof(IBackplane.Unsubscribe))]
    [InlineData(nameof(IBackplane.RemoveMember))]
    public async Task Disconnect_BackplaneThrows_StillRemovesConnectionAndGroups(string method)
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("g", cancellationToken: Token);
        _backplane.Failures[method] = new InvalidOperationException("It is a bug.");
        ann.Disconnect();
        Assert.Equal((0, 0, 0), (_broadcast.Connections.Count, _broadcast.Groups.Count, _broadcast.Pumps[0].Pump.Connections));
        Assert.Equal(0, _broadcast.Connections.CountGroupMembers("g"));
    }

    [Fact]
    public void Admit_SetMemberThrows_ReturnsConnection()
    {
        _backplane.Failures[nameof(IBackplane.SetMember)] = new InvalidOperationException("It is a bug.");
        Assert.NotNull(_broadcast.Admit(new FakeRequest(), Home));
    }

    [Fact]
    public async Task Disconnect_OfAllConnections_LeavesNoClusterState()
    {
        var listeners = new List<Listener>();
        for (var i = 0; i < 3; i++)
        {
            listeners.Add(await Listener.ConnectAsync(_broadcast, user: "ann"));
            await listeners[i].Connection.JoinAsync("g" + i, cancellationToken: Token);
            await listeners[i].Connection.JoinAsync("kept", cancellationToken: Token);
        }

        Assert.Equal(6, _backplane.Subscribed.Length);
        Assert.Equal(15, _backplane.Members.Count); // Each connection has five entries: its ID, its user and three groups.
        listeners[1].Connection.Leave("kept");
        foreach (var listener in listeners) listener.Disconnect();
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task Join_AfterDisconnect_IsRefusedAndLeavesNoClusterState()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        ann.Disconnect();
        Assert.False((await ann.Connection.JoinAsync("g", cancellationToken: Token)).Joined);
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task PublishToSeveralGroups_OneGroupFails_PublishesToOtherGroups()
    {
        _backplane.Failures["PublishAsync b"] = new BackplaneException("Unreachable.");
        await Assert.ThrowsAsync<BackplaneException>(() => _broadcast.PublishTextAsync("x", Recipients.Groups("a", "b", "c"), Token).AsTask());
        Assert.Equal((2, 2), (_backplane.Publish("a", Encode(1)).Offset, _backplane.Publish("c", Encode(1)).Offset));
    }

    [Theory]
    [InlineData(64)]
    [InlineData(1_000)]
    public async Task SharedMessage_CopiesFarApart_IsDeliveredOnce(int count)
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        var bob = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("blue", cancellationToken: Token);
        await ann.Connection.JoinAsync("red", cancellationToken: Token);
        await bob.Connection.JoinAsync("red", cancellationToken: Token);
        foreach (var group in (string[])["blue", "red"])
        {
            for (var i = 1; i <= count; i++)
            {
                var message = new ClusterMessage(new(BitConverter.GetBytes(i), MessageType.Binary), [], Now(default), i).Encode();
                _backplane.Deliver(group, _backplane.Publish(group, message.ToArray()), message);
                _broadcast.RunUntilIdle();
            }
        }

        ann.AssertGot([.. Enumerable.Range(1, count)]);
        bob.AssertGot([.. Enumerable.Range(1, count)]);
    }

    /// <summary>
    /// Tests a connection that joins the group of the first copy after the arrival of this copy. The connection must
    /// receive the second copy.
    /// </summary>
    [Fact]
    public async Task SharedMessage_CopyBeforeJoin_DoesNotSuppressLaterCopy()
    {
        var ann = await Listener.ConnectAsync(_broadcast);
        var bob = await Listener.ConnectAsync(_broadcast);
        await ann.Connection.JoinAsync("red", cancellationToken: Token);
        await bob.Connection.JoinAsync("blue", cancellationToken: Token);
        await bob.Connection.JoinAsync("red", cancellationToken: Token);
        var message = new ClusterMessage(new(BitConverter.GetBytes(1), MessageType.Binary), [], Now(default), 1).Encode();
        _backplane.Deliver("blue", _backplane.Publish("blue", message.ToArray()), message);
        await ann.Connection.JoinAsync("blue", cancellationToken: Token);
        Assert.True(bob.Connection.Leave("blue"));
        _backplane.Deliver("red", _backplane.Publish("red", message.ToArray()), message);
        _broadcast.RunUntilIdle();
        ann.AssertGot(1);
        bob.AssertGot(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Publish_WithoutCluster_CompletesSynchronouslyWithFewAllocations(bool toSeveral)
    {
        using var alone = new TestEngine();
        var message = new Message(new byte[20], MessageType.Binary);
        var recipients = toSeveral ? Recipients.Groups("a") : Recipients.Group("a");
        // Without members, a publish to one group allocates nothing. A publish to several groups allocates a set of writers.
        // The first calls may run code that the compiler has not optimized yet. This code allocates more.
        await Eventually.True(() => Measure() <= (toSeveral ? 750 : 0));

        long Measure()
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < 100; i++) Publish();
            return (GC.GetAllocatedBytesForCurrentThread() - before) / 100;
        }

        void Publish()
        {
            var publishing = alone.Instance.Router.PublishAsync(message, recipients, Token);
            Assert.True(publishing.IsCompletedSuccessfully);
            publishing.GetAwaiter().GetResult();
        }
    }

    void AssertNothingIsLeft()
    {
        Assert.Empty(_backplane.Subscribed);
        Assert.Empty(_backplane.Members);
        Assert.Equal((0, 0), (_broadcast.Groups.Count, _broadcast.Connections.Count));
    }

    /// <summary>Opens a connection of a structured client. The test must complete the subscriptions.</summary>
    (Connection Connection, ManualSink Sink, List<string> Received, Task<JoinResult> Opening) StartOpening()
    {
        var received = new List<string>();
        var sink = new ManualSink(frames => Assert.Null(
            FrameParser.Read(frames.Span, (_, payload) => received.Add(Encoding.UTF8.GetString(payload)))));
        var connection = _broadcast.Admit(_broadcast.Pumps[0], Home, protocol: ReliableReceiver.Protocol);
        connection.Writer.Open(sink);
        _backplane.DefersSubscriptions = true;
        return (connection, sink, received, _broadcast.AttachAsync(connection).AsTask());
    }

    ValueTask<PublishResult> PublishAsync(string group, int number) =>
        _broadcast.PublishAsync(new Message(BitConverter.GetBytes(number), MessageType.Binary), Recipients.Group(group), cancellationToken: Token);

    DateTimeOffset Now(TimeSpan skew) => _broadcast.Time.GetUtcNow() + skew;

    /// <summary>Encodes the number 7 with these tags. <see cref="MessageTags"/> does not allow invalid tags, so this method writes the parts itself.</summary>
    static byte[] EncodeWithTags(params (string Key, string Value)[] tags)
    {
        const byte IsBinary = 1, HasTags = 64;
        var writer = new NodeWriter(100);
        writer.WriteVersion();
        writer.Write((byte)(IsBinary | HasTags));
        writer.Write(DateTimeOffset.UnixEpoch);
        writer.Write(0L);
        foreach (var absent in new string?[3]) writer.WriteOrNull(absent); // The key, the sender, and the user.
        writer.Write(0); // The number of excluded connections.
        writer.Write(tags.Length);
        foreach (var (key, value) in tags)
        {
            writer.Write(key);
            writer.Write(value);
        }

        writer.WriteRest(BitConverter.GetBytes(7));
        return writer.Written.ToArray();
    }

    byte[] Encode(int number, TimeSpan skew = default) =>
        new ClusterMessage(new(BitConverter.GetBytes(number), MessageType.Binary), [], Now(skew), 0).Encode().ToArray();
}
