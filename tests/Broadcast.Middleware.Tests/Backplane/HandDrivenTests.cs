using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Backplane;

/// <summary>A node whose backplane does everything when the test says so, and as unhandily as it may.</summary>
public sealed class HandDrivenTests : IDisposable
{
    const string Home = "/home";

    readonly HandBackplane _backplane = new();
    readonly Stage _stage;

    public HandDrivenTests() => _stage = new Stage(
        backplane: _backplane,
        configure: options => options.Groups["kept"] = new() { HistoryMessages = 100, HistoryAge = TimeSpan.FromMinutes(1) });

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _stage.Dispose();
        Assert.Null(_backplane.Violation);
    }

    [Fact]
    public async Task What_overtakes_the_answer_of_a_subscription_stands_after_the_history_once()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        for (var i = 1; i <= 3; i++) _backplane.Publish("kept", Encode(i));
        _backplane.Keep("kept", 2);
        _backplane.AnswersLater = true;
        var joining = ann.Connection.JoinAsync("kept", Replay.Last(10)).AsTask();
        var pending = await _backplane.AskedAsync();

        // Known already, by another life of the group, new, and new once more.
        _backplane.HandOut("kept", new(1, 3), Encode(3));
        _backplane.HandOut("kept", new(7, 4), Encode(70));
        _backplane.HandOut("kept", _backplane.Publish("kept", Encode(4)), Encode(4));
        _backplane.HandOut("kept", new(1, 4), Encode(4));
        _backplane.HandOut("kept", _backplane.Publish("kept", Encode(5)), Encode(5));
        pending.Arrive();

        Assert.Equal(new JoinResult(true, null, new(1, 1)), await joining);
        Assert.Equal(new(1, 6), (await PublishAsync("kept", 6)).Position);
        _stage.RunUntilIdle();
        ann.AssertGot(2, 3, 4, 5, 6);
        Assert.Equal(new(1, 6), new Position(_stage.Broadcaster.Groups.Find("kept")!.Epoch, _stage.Broadcaster.Groups.Find("kept")!.NextOffset - 1));
    }

    [Fact]
    public async Task What_was_on_its_way_when_a_subscription_ended_is_not_heard_in_the_next_one()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("kept");
        await PublishAsync("kept", 1);
        Assert.True(ann.Connection.Leave("kept"));
        Assert.False(_backplane.IsSubscribed("kept"));
        var late = _backplane.Publish("kept", Encode(2));
        _backplane.HandOut("kept", late, Encode(2));

        await ann.Connection.JoinAsync("kept");
        _backplane.HandOut("kept", late, Encode(2));
        await PublishAsync("kept", 3);

        _stage.RunUntilIdle();
        ann.AssertGot(1, 3);
    }

    [Fact]
    public async Task Two_who_join_at_once_share_a_subscription_and_the_last_one_to_leave_ends_it()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        var bob = await ClusterHearer.ConnectAsync(_stage);
        _backplane.AnswersLater = true;
        var joining = Task.WhenAll(ann.Connection.JoinAsync("g").AsTask(), bob.Connection.JoinAsync("g").AsTask(), bob.Connection.JoinAsync("g").AsTask());
        (await _backplane.AskedAsync()).Arrive();

        Assert.Equal(2, (await joining).Count(static joined => joined.Joined));
        bob.Connection.Leave("g");
        Assert.True(_backplane.IsSubscribed("g"));
        ann.Connection.Leave("g");
        Assert.False(_backplane.IsSubscribed("g"));
    }

    [Fact]
    public async Task A_subscription_that_fails_is_ended_and_the_next_join_tries_again()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        _backplane.AnswersLater = true;
        var joining = ann.Connection.JoinAsync("g").AsTask();
        // It stands, though nobody was told in time.
        (await _backplane.AskedAsync()).Answer.SetException(new BackplaneException("Not in time."));
        await Assert.ThrowsAsync<BackplaneException>(() => joining);
        Assert.False(_backplane.IsSubscribed("g"));

        _backplane.AnswersLater = false;
        Assert.True((await ann.Connection.JoinAsync("g")).Joined);
        await PublishAsync("g", 1);
        _stage.RunUntilIdle();
        ann.AssertGot(1);
    }

    [Fact]
    public async Task A_group_that_is_lost_before_its_subscription_is_answered_is_subscribed_to_anew()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        _backplane.AnswersLater = true;
        var joining = ann.Connection.JoinAsync("g").AsTask();
        var first = await _backplane.AskedAsync();
        _backplane.Lose("g");
        first.Arrive();
        (await _backplane.AskedAsync()).Arrive();

        Assert.True((await joining).Joined);
        await PublishAsync("g", 1);
        _stage.RunUntilIdle();
        ann.AssertGot(1);
    }

    [Fact]
    public async Task Members_of_a_lost_group_are_told_and_others_are_not()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        var bob = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("g");
        await PublishAsync("g", 1);
        _backplane.Lose("g");
        _stage.RunUntilIdle();
        ann.AssertLost(1);

        await bob.Connection.JoinAsync("g");
        await PublishAsync("g", 2);
        ann.Go();
        await PublishAsync("g", 3);
        _stage.RunUntilIdle();
        bob.AssertGot(2, 3);
        bob.Go();
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task A_gap_is_a_loss()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("g");
        await PublishAsync("g", 1);
        _backplane.Publish("g", Encode(2));
        await PublishAsync("g", 3);
        _stage.RunUntilIdle();
        ann.AssertLost(1);

        var bob = await ClusterHearer.ConnectAsync(_stage);
        await bob.Connection.JoinAsync("g");
        Assert.Equal(new(1, 4), (await PublishAsync("g", 4)).Position);
        _stage.RunUntilIdle();
        bob.AssertGot(4);
    }

    [Fact]
    public async Task A_gap_in_what_overtakes_the_answer_is_a_loss_too()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        _backplane.AnswersLater = true;
        var joining = ann.Connection.JoinAsync("g").AsTask();
        var pending = await _backplane.AskedAsync();
        _backplane.Publish("g", Encode(1));
        _backplane.HandOut("g", _backplane.Publish("g", Encode(2)), Encode(2));
        pending.Arrive();
        (await _backplane.AskedAsync()).Arrive();

        Assert.Equal(new JoinResult(true, null, new(1, 2)), await joining);
        await PublishAsync("g", 3);
        _stage.RunUntilIdle();
        ann.AssertGot(3);
    }

    [Theory]
    [InlineData(new byte[0])]
    [InlineData(new byte[] { 2 })]
    public async Task After_a_message_that_cannot_be_read_the_group_can_be_joined_again(byte[] unreadable)
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("g");
        await PublishAsync("g", 1);
        await _backplane.PublishAsync("g", unreadable, null, Token);
        await PublishAsync("g", 2);
        var bob = await ClusterHearer.ConnectAsync(_stage);
        await bob.Connection.JoinAsync("g");
        await PublishAsync("g", 3);

        _stage.RunUntilIdle();
        ann.AssertLost(1);
        bob.AssertGot(3);
        ann.Go();
        await PublishAsync("g", 4);
        _stage.RunUntilIdle();
        bob.AssertGot(3, 4);
        bob.Go();
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task A_time_that_no_clock_shows_cannot_be_read()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("g");
        var message = new ClusterMessage(new(new byte[4], MessageType.Binary), [], long.MaxValue, 0).Encode();

        await _backplane.PublishAsync("g", message, null, Token);

        _stage.RunUntilIdle();
        ann.AssertLost();
    }

    [Fact]
    public async Task A_history_is_kept_from_behind_what_cannot_be_read()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        _backplane.Publish("kept", Encode(1));
        _backplane.Publish("kept", [1, 2, 3]);
        _backplane.Publish("kept", Encode(3));
        _backplane.Keep("kept", 3);

        Assert.False((await ann.Connection.JoinAsync("kept", Replay.After(new(1, 0)))).Recovered);
        ann.Connection.Leave("kept");
        Assert.Equal(new JoinResult(true, true, new(1, 2)), await ann.Connection.JoinAsync("kept", Replay.After(new(1, 2))));
        _stage.RunUntilIdle();
        ann.AssertGot(3);
    }

    /// <summary>The messages' times are those of their publishers' clocks, which differ.</summary>
    [Fact]
    public async Task A_recovery_lacks_nothing_though_clocks_differ()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("kept");
        for (var i = 0; i < 8; i++) await _backplane.PublishAsync("kept", Encode(i, i == 3 ? TimeSpan.FromMinutes(-2) : TimeSpan.Zero), null, Token);
        _stage.RunUntilIdle();
        ann.AssertGot([.. Enumerable.Range(0, 8)]);

        for (var has = 0; has <= 8; has++)
        {
            var bob = await ClusterHearer.ConnectAsync(_stage);
            var joined = await bob.Connection.JoinAsync("kept", Replay.After(new(1, has)));
            _stage.RunUntilIdle();
            if (joined.Recovered is true) bob.AssertGot([.. Enumerable.Range(has, 8 - has)]);
            bob.Go();
        }
    }

    [Fact]
    public async Task A_lost_inbox_is_opened_again_and_whoever_was_there_is_told()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        _stage.RunUntilIdle();
        _backplane.Lose(_backplane.Inbox);

        await Eventually.True(() => _backplane.InboxSubscriptions == 2 && _backplane.IsSubscribed(_backplane.Inbox));
        await Eventually.True(() =>
        {
            _stage.RunUntilIdle();
            return ann.Sink.Closed is not null;
        });
        ann.AssertLost();
        await _stage.Broadcaster.Cluster!.Opening;
        var bob = await ClusterHearer.ConnectAsync(_stage);
        await SendToInboxAsync(bob, 5);
        _stage.RunUntilIdle();
        bob.AssertGot(5);
    }

    [Fact]
    public async Task Who_came_while_the_inbox_was_closed_is_told()
    {
        _backplane.Failures[nameof(IBackplane.SubscribeAsync)] = new BackplaneException("Away.");
        _backplane.Lose(_backplane.Inbox);
        await Eventually.True(() => _backplane.InboxSubscriptions == 2);
        _backplane.Failures.Clear();
        var ann = await ClusterHearer.ConnectAsync(_stage);

        await Eventually.True(() =>
        {
            _stage.Time.Advance(TimeSpan.FromSeconds(1));
            _stage.RunUntilIdle();
            return ann.Sink.Closed is not null;
        });
        ann.AssertLost();
    }

    [Fact]
    public async Task An_inbox_that_cannot_be_opened_is_not_tried_for_ever()
    {
        _backplane.Failures[nameof(IBackplane.SubscribeAsync)] = new BackplaneException("Away.");
        _backplane.Lose(_backplane.Inbox);
        await Eventually.True(() => _backplane.InboxSubscriptions == 2);
        _stage.Dispose();

        await Eventually.True(() =>
        {
            _stage.Time.Advance(TimeSpan.FromSeconds(1));
            return _stage.Broadcaster.Cluster!.Opening.IsCompleted;
        });
        Assert.Equal(2, _backplane.InboxSubscriptions);
    }

    /// <summary>The backplane holds its lock, hands out, and somebody who leaves waits for that lock.</summary>
    [Fact]
    public async Task A_private_message_does_not_wait_for_somebody_who_leaves()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("g");
        var isLeaving = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task leaving;
        using (var hasSent = new ManualResetEventSlim())
        {
            _backplane.OnUnsubscribing = () =>
            {
                isLeaving.TrySetResult();
                hasSent.Wait(TimeSpan.FromSeconds(10), Token);
            };
            leaving = Task.Run(() => ann.Connection.Leave("g"), Token);
            await isLeaving.Task.WaitAsync(TimeSpan.FromSeconds(10), Token);
            // As from within the lock that the other one would wait for.
            var sending = Task.Run(() => SendToInboxAsync(ann, 1).AsTask(), Token);
            var first = await Task.WhenAny(sending, Task.Delay(TimeSpan.FromSeconds(5), Token));
            hasSent.Set();
            // First: if each waits for the other, neither ends.
            Assert.Same(sending, first);
            await leaving;
            await sending;
        }

        _stage.RunUntilIdle();
        ann.AssertGot(1);
    }

    [Fact]
    public async Task Nothing_that_is_handed_out_throws_into_the_backplane()
    {
        await _backplane.PublishAsync(_backplane.Inbox, new NodeRequest(NodeRequestKind.SendToUser, 0, "", "") { Body = Encode(1) }.Encode(), null, Token);
        await _backplane.PublishAsync(_backplane.Inbox, new NodeRequest(NodeRequestKind.SendToConnection, 0, "", "x") { Body = new byte[1] }.Encode(), null, Token);
        await _backplane.PublishAsync(_backplane.Inbox, new byte[] { 77 }, null, Token);
        await _stage.Broadcaster.Cluster!.Opening;
        // The inbox has not been lost: it is not opened again.
        Assert.Equal(1, _backplane.InboxSubscriptions);
    }

    [Fact]
    public async Task A_stalled_client_of_a_lost_group_is_cut_off()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        ann.Sink.Mode = WriteMode.Later;
        await _stage.Broadcaster.PublishAsync(new Message(BitConverter.GetBytes(1), MessageType.Binary), Recipients.All, Token);
        _stage.RunUntilIdle();
        Assert.True(ann.Sink.IsWriting);

        // With everyone's group go the beats.
        _backplane.Lose("");
        _stage.RunUntilIdle();
        _stage.Time.Advance(_stage.Broadcaster.Options.CloseTimeout);

        await Eventually.True(() => ann.Request.IsAborted);
        ann.Sink.FailWrite();
        ann.Go();
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task A_slow_client_of_a_lost_group_gets_what_it_had_first()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        ann.Sink.Mode = WriteMode.Later;
        for (var i = 1; i <= 3; i++)
        {
            await PublishAsync(Home, i);
            _stage.RunUntilIdle();
        }

        _backplane.Lose(Home);
        _stage.RunUntilIdle();
        Assert.Equal(CloseStatus.TryAgainLater, ann.Connection.Writer.ClosingStatus);
        ann.Sink.Mode = WriteMode.AtOnce;
        ann.Sink.CompleteWrite();
        _stage.RunUntilIdle();
        ann.AssertLost(1, 2, 3);
    }

    [Theory]
    [InlineData(nameof(IBackplane.Unsubscribe))]
    [InlineData(nameof(IBackplane.RemoveMember))]
    public async Task A_backplane_that_throws_where_it_may_not_keeps_nobody_counted(string method)
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("g");
        _backplane.Failures[method] = new InvalidOperationException("It is a bug.");
        ann.Go();
        Assert.Equal((0, 0, 0), (_stage.Broadcaster.Connections.Count, _stage.Broadcaster.Groups.Count, _stage.Pumps[0].Pump.Connections));
        Assert.Equal(0, _stage.Broadcaster.Connections.CountInGroup("g"));
    }

    [Fact]
    public void Somebody_whom_the_directory_does_not_take_is_let_in_all_the_same()
    {
        _backplane.Failures[nameof(IBackplane.SetMember)] = new InvalidOperationException("It is a bug.");
        Assert.NotNull(_stage.Broadcaster.Admit(new FakeRequest().Context, Home, out _));
    }

    [Fact]
    public async Task When_everybody_has_gone_nothing_is_left()
    {
        var hearers = new List<ClusterHearer>();
        for (var i = 0; i < 3; i++)
        {
            hearers.Add(await ClusterHearer.ConnectAsync(_stage, user: "ann"));
            await hearers[i].Connection.JoinAsync("g" + i);
            await hearers[i].Connection.JoinAsync("kept");
        }

        Assert.Equal(6, _backplane.Subscribed.Length);
        Assert.Equal(15, _backplane.Members.Count); // Its connection, its user, and itself in three groups each.
        hearers[1].Connection.Leave("kept");
        foreach (var hearer in hearers) hearer.Go();
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task A_refused_join_holds_nothing()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        ann.Go();
        Assert.False((await ann.Connection.JoinAsync("g")).Joined);
        AssertNothingIsLeft();
    }

    [Theory]
    [InlineData(64)]
    [InlineData(1_000)]
    public async Task A_member_of_several_groups_gets_a_message_to_them_once_though_the_copies_are_far_apart(int count)
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        var bob = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("blue");
        await ann.Connection.JoinAsync("red");
        await bob.Connection.JoinAsync("red");
        foreach (var group in (string[])["blue", "red"])
        {
            for (var i = 1; i <= count; i++)
            {
                var message = new ClusterMessage(new(BitConverter.GetBytes(i), MessageType.Binary), [], Now(default), i).Encode();
                _backplane.HandOut(group, _backplane.Publish(group, message.ToArray()), message);
                _stage.RunUntilIdle();
            }
        }

        ann.AssertGot([.. Enumerable.Range(1, count)]);
        bob.AssertGot([.. Enumerable.Range(1, count)]);
    }

    /// <summary>Who joined between the copies takes the one that came after.</summary>
    [Fact]
    public async Task A_copy_that_came_before_somebody_joined_does_not_count()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        var bob = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("red");
        await bob.Connection.JoinAsync("blue");
        await bob.Connection.JoinAsync("red");
        var message = new ClusterMessage(new(BitConverter.GetBytes(1), MessageType.Binary), [], Now(default), 1).Encode();
        _backplane.HandOut("blue", _backplane.Publish("blue", message.ToArray()), message);
        await ann.Connection.JoinAsync("blue");
        Assert.True(bob.Connection.Leave("blue"));
        _backplane.HandOut("red", _backplane.Publish("red", message.ToArray()), message);
        _stage.RunUntilIdle();
        ann.AssertGot(1);
        bob.AssertGot(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Without_other_nodes_a_publish_completes_at_once_and_costs_nothing_more(bool toSeveral)
    {
        using var alone = new Stage();
        var message = new Message(new byte[20], MessageType.Binary);
        var recipients = toSeveral ? Recipients.Groups("a") : Recipients.Group("a");
        var (directly, asked) = (Measure(() => alone.Broadcaster.Publish(message, recipients)), Measure(() =>
        {
            var publishing = alone.Broadcaster.PublishCheckedAsync(message, recipients, Token);
            Assert.True(publishing.IsCompletedSuccessfully);
            publishing.GetAwaiter().GetResult();
        }));
        Assert.Equal(directly, asked);

        static long Measure(Action act)
        {
            act();
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < 100; i++) act();
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }
    }

    void AssertNothingIsLeft()
    {
        Assert.Empty(_backplane.Subscribed);
        Assert.Empty(_backplane.Members);
        Assert.Equal((0, 0), (_stage.Broadcaster.Groups.Count, _stage.Broadcaster.Connections.Count));
    }

    ValueTask<PublishResult> PublishAsync(string group, int number) =>
        _stage.Broadcaster.PublishAsync(new Message(BitConverter.GetBytes(number), MessageType.Binary), Recipients.Group(group), Token);

    ValueTask<Position> SendToInboxAsync(ClusterHearer hearer, int number) => _backplane.PublishAsync(
        _backplane.Inbox, new NodeRequest(NodeRequestKind.SendToConnection, 0, "other", hearer.Connection.Id) { Body = Encode(number) }.Encode(), null, Token);

    long Now(TimeSpan skew) => (_stage.Time.GetUtcNow() + skew).ToUnixTimeMilliseconds();

    byte[] Encode(int number, TimeSpan skew = default) =>
        new ClusterMessage(new(BitConverter.GetBytes(number), MessageType.Binary), [], Now(skew), 0).Encode().ToArray();
}
