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

    /// <summary>Whether it means the subscription before or this one, nobody can know: it is ended, and begun again.</summary>
    [Fact]
    public async Task A_loss_of_an_ended_subscription_that_comes_before_the_next_one_is_answered_harms_nobody()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("g");
        ann.Connection.Leave("g");
        _backplane.AnswersLater = true;
        var joining = ann.Connection.JoinAsync("g").AsTask();
        var first = await _backplane.AskedAsync();
        _backplane.TellOfLossLate("g");
        var bob = await BobAsync();
        first.Arrive();
        (await _backplane.AskedAsync()).Arrive();

        Assert.True((await joining).Joined);
        Assert.True((await bob).Joined);
        await PublishAsync("g", 1);
        _stage.RunUntilIdle();
        ann.AssertGot(1);

        async Task<Task<JoinResult>> BobAsync()
        {
            var bob = _stage.Admit(_stage.Pumps[0], Home);
            bob.Writer.Open(new HandSink(static _ => { }));
            await Task.Yield();
            return bob.JoinAsync("g").AsTask();
        }
    }

    [Fact]
    public async Task A_loss_of_an_ended_subscription_that_comes_later_still_is_told_and_the_group_can_be_joined_again()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("g");
        ann.Connection.Leave("g");
        await ann.Connection.JoinAsync("g");
        _backplane.TellOfLossLate("g");
        _stage.RunUntilIdle();
        ann.AssertLost();

        var bob = await ClusterHearer.ConnectAsync(_stage);
        await bob.Connection.JoinAsync("g");
        await PublishAsync("g", 1);
        ann.Go();
        await PublishAsync("g", 2);
        _stage.RunUntilIdle();
        bob.AssertGot(1, 2);
        bob.Go();
        AssertNothingIsLeft();
    }

    /// <summary>It was a member while messages were lost.</summary>
    [Fact]
    public async Task Who_leaves_a_lost_group_before_it_knows_is_told()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("g");
        await PublishAsync("g", 1);
        _backplane.Lose("g");
        Assert.True(ann.Connection.Leave("g"));
        _stage.RunUntilIdle();
        ann.AssertLost(1);
    }

    [Fact]
    public async Task Who_has_left_a_group_before_it_is_lost_stays()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        var bob = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("g");
        await bob.Connection.JoinAsync("g");
        await PublishAsync("g", 1);
        Assert.True(ann.Connection.Leave("g"));
        _backplane.Lose("g");
        _stage.RunUntilIdle();
        ann.AssertGot(1);
        bob.AssertLost(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Who_gives_up_waiting_for_the_cluster_holds_nothing(bool fails)
    {
        using var unobserved = new UnobservedExceptions();
        var ann = await ClusterHearer.ConnectAsync(_stage);
        _backplane.AnswersLater = true;
        for (var i = 0; i < 20; i++) await GiveUpAsync("g" + i);
        ann.Go();
        AssertNothingIsLeft();
        unobserved.AssertNoneOfOurs();

        async Task GiveUpAsync(string group)
        {
            using var giveUp = new CancellationTokenSource();
            var joining = _stage.Broadcaster.JoinAsync(ann.Connection.Id, group, giveUp.Token).AsTask();
            var pending = await _backplane.AskedAsync();
            await giveUp.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => joining.WaitAsync(TimeSpan.FromSeconds(10), Token));

            if (fails) pending.Answer.SetException(new BackplaneException("Away."));
            else pending.Arrive();
            await Eventually.True(() => !_backplane.IsSubscribed(group));
        }
    }

    [Fact]
    public async Task Who_gives_up_waiting_for_the_cluster_is_no_matter_of_those_who_do_not()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        var bob = await ClusterHearer.ConnectAsync(_stage);
        _backplane.AnswersLater = true;
        using var giveUp = new CancellationTokenSource();
        var (joining, joiningToo) = (_stage.Broadcaster.JoinAsync(ann.Connection.Id, "g", giveUp.Token).AsTask(), bob.Connection.JoinAsync("g").AsTask());
        var pending = await _backplane.AskedAsync();
        await giveUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => joining.WaitAsync(TimeSpan.FromSeconds(10), Token));
        pending.Arrive();

        Assert.True((await joiningToo).Joined);
        await PublishAsync("g", 1);
        _stage.RunUntilIdle();
        bob.AssertGot(1);
        ann.AssertGot();
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
        var message = new ClusterMessage(new(new byte[4], MessageType.Binary), [], default, 0).Encode().ToArray();
        // Behind the version and the flags.
        BitConverter.TryWriteBytes(message.AsSpan(2), long.MaxValue);

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

    public static MatrixTheoryData<string, string> Waits => new(["Leave", "Connect", "Join"], ["message", "private message", "loss", "loss of the inbox"]);

    /// <summary>The backplane holds its lock while it calls, and somebody who holds locks of ours waits for that one.</summary>
    [Theory]
    [MemberData(nameof(Waits))]
    public async Task What_is_handed_out_does_not_wait_for_somebody_who_waits_for_the_backplane(string act, string handedOut)
    {
        var ann = await ClusterHearer.ConnectAsync(_stage, user: "ann");
        await ann.Connection.JoinAsync("g");
        await ann.Connection.JoinAsync("h");
        var isWaiting = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var isHandedOut = new ManualResetEventSlim();
        _backplane.OnUnsubscribing = _backplane.OnSettingMember = () =>
        {
            isWaiting.TrySetResult();
            isHandedOut.Wait(2 * Eventually.Patience, Token);
        };
        var acting = Task.Run(
            () => act switch
            {
                "Leave" => Task.FromResult(ann.Connection.Leave("g")),
                "Connect" => Task.FromResult(_stage.Admit(_stage.Pumps[0], Home)),
                _ => ann.Connection.JoinAsync("i").AsTask(),
            },
            Token);
        await isWaiting.Task.WaitAsync(TimeSpan.FromSeconds(10), Token);
        var handingOut = Task.Run(
            () =>
            {
                foreach (var group in (string[])["g", "h", "i"]) HandOut(group);
            },
            Token);
        var first = await Task.WhenAny(handingOut, Task.Delay(Eventually.Patience, Token));
        (_backplane.OnUnsubscribing, _backplane.OnSettingMember) = (null, null);
        isHandedOut.Set();

        // First: if each waits for the other, neither ends.
        Assert.Same(handingOut, first);
        await handingOut;
        await acting;
        await _stage.Broadcaster.Cluster!.Opening;

        void HandOut(string group)
        {
            if (handedOut == "message") _backplane.HandOut(group, _backplane.Publish(group, Encode(1)), Encode(1));
            else if (handedOut == "loss") _backplane.TellOfLossLate(group);
            else if (handedOut == "loss of the inbox") _backplane.TellOfLossLate(_backplane.Inbox);
            else _backplane.HandOut(_backplane.Inbox, new(1, 1), new NodeRequest(NodeRequestKind.SendToUser, 0, "other", "ann") { Body = Encode(1) }.Encode());
        }
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

    /// <summary>Clocks that are far off make what is kept old or new, and nothing worse.</summary>
    [Fact]
    public async Task A_recovery_lacks_nothing_though_clocks_are_far_off()
    {
        var ann = await ClusterHearer.ConnectAsync(_stage);
        await ann.Connection.JoinAsync("kept");
        DateTimeOffset[] times = [DateTimeOffset.MaxValue, DateTimeOffset.UnixEpoch, Now(default), DateTimeOffset.MinValue, DateTimeOffset.MaxValue];
        for (var i = 0; i < times.Length; i++)
            await _backplane.PublishAsync("kept", new ClusterMessage(new(BitConverter.GetBytes(i), MessageType.Binary), [], times[i], 0).Encode(), null, Token);
        _stage.RunUntilIdle();
        ann.AssertGot(0, 1, 2, 3, 4);

        for (var has = 0; has <= times.Length; has++)
        {
            var bob = await ClusterHearer.ConnectAsync(_stage);
            // None is before the one ahead of it, which a fast clock made as new as can be.
            Assert.True((await bob.Connection.JoinAsync("kept", Replay.After(new(1, has)))).Recovered);
            _stage.RunUntilIdle();
            bob.AssertGot([.. Enumerable.Range(has, times.Length - has)]);
            bob.Go();
        }

        _stage.Time.Advance(TimeSpan.FromMinutes(2));
        var late = await ClusterHearer.ConnectAsync(_stage);
        Assert.False((await late.Connection.JoinAsync("kept", Replay.After(new(1, 0)))).Recovered);
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

    [Fact]
    public async Task A_message_to_several_groups_is_published_to_all_of_them_that_take_it()
    {
        _backplane.Failures["PublishAsync b"] = new BackplaneException("Away.");
        await Assert.ThrowsAsync<BackplaneException>(() => _stage.Broadcaster.PublishAsync("x", Recipients.Groups("a", "b", "c"), Token).AsTask());
        Assert.Equal((2, 2), (_backplane.Publish("a", Encode(1)).Offset, _backplane.Publish("c", Encode(1)).Offset));
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

    DateTimeOffset Now(TimeSpan skew) => _stage.Time.GetUtcNow() + skew;

    byte[] Encode(int number, TimeSpan skew = default) =>
        new ClusterMessage(new(BitConverter.GetBytes(number), MessageType.Binary), [], Now(skew), 0).Encode().ToArray();
}
