using System.Net.WebSockets;
using System.Text;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests the delivery to members with subscription filters, on one thread.</summary>
public sealed class FilteredDeliveryTests
{
    const string Name = "/g";

    static readonly SubscriptionFilter Even = SubscriptionFilter.Parse("parity = even");
    static readonly SubscriptionFilter Odd = SubscriptionFilter.Parse("parity = odd");
    static readonly MessageTags EvenTags = MessageTags.Create(("parity", "even")), OddTags = MessageTags.Create(("parity", "odd"));

    [Fact]
    public void Publish_MembersWithFilters_ReceiveOnlyAcceptedMessages()
    {
        using var broadcast = new TestEngine();
        Listener all = new(broadcast, Name), even = new(broadcast, Name, filter: Even), odd = new(broadcast, Name, filter: Odd);
        for (var i = 1; i <= 200; i++) Assert.Equal((i, 3), (Publish(broadcast, i).Position!.Value.Offset, Publish(broadcast, 0, Recipients.User("nobody")).LocalRecipients + 3));
        broadcast.RunUntilIdle();
        all.AssertGot([.. Enumerable.Range(1, 200)]);
        even.AssertGot([.. Enumerable.Range(1, 200).Where(i => i % 2 == 0)]);
        odd.AssertGot([.. Enumerable.Range(1, 200).Where(i => i % 2 == 1)]);
    }

    [Fact]
    public void Publish_UntaggedMessage_IsRejectedUnlessFilterIsNegated()
    {
        using var broadcast = new TestEngine();
        Listener even = new(broadcast, Name, filter: Even), notEven = new(broadcast, Name, filter: SubscriptionFilter.Parse("parity != even"));
        broadcast.Publish(Name, 1);
        broadcast.RunUntilIdle();
        even.AssertGot();
        notEven.AssertGot(1);
    }

    [Fact]
    public void SubscriptionFilter_SetAtConnect_AppliesToMessagesToAllConnections()
    {
        using var broadcast = new TestEngine();
        Listener even = new(broadcast, Name, filter: Even), all = new(broadcast, "/other");
        for (var i = 1; i <= 4; i++) Publish(broadcast, i, Recipients.Everyone);
        Publish(broadcast, 5, Recipients.Connection(even.Connection.Id));
        broadcast.RunUntilIdle();
        even.AssertGot(2, 4, 5);
        all.AssertGot(1, 2, 3, 4);
    }

    /// <summary>Tests that one write sends all accepted messages of a backlog.</summary>
    [Fact]
    public void Backlog_EverySecondMessageRejected_IsSentInOneWrite()
    {
        using var broadcast = new TestEngine();
        var even = new Listener(broadcast, Name, filter: Even);
        broadcast.RunUntilIdle();
        var writes = even.Sink.Writes;
        for (var i = 1; i <= 1_000; i++) Publish(broadcast, i, size: 20);
        broadcast.RunUntilIdle();
        even.AssertGot([.. Enumerable.Range(1, 1_000).Where(i => i % 2 == 0)]);
        Assert.Equal(1, even.Sink.Writes - writes);
    }

    /// <summary>
    /// Tests that the bytes of a pending write do not change while the pump prepares the writes of other connections.
    /// The sink detects changed bytes.
    /// </summary>
    [Fact]
    public void PendingWrite_OtherConnectionsContinue_BytesStayUnchanged()
    {
        using var broadcast = new TestEngine();
        var slow = Enumerable.Range(0, 4).Select(_ => new Listener(broadcast, Name, filter: Even)).ToArray();
        var fast = Enumerable.Range(0, 4).Select(_ => new Listener(broadcast, Name, filter: Odd)).ToArray();
        foreach (var listener in slow) listener.Sink.Mode = WriteMode.Later;
        var last = 0;
        for (var round = 0; round < 5; round++)
        {
            for (var i = 0; i < 50; i++) Publish(broadcast, ++last, size: 100);
            broadcast.RunUntilIdle();
            Assert.All(slow, listener => Assert.True(listener.Sink.IsWriting));
            slow[round % 4].Sink.CompleteWrite();
            broadcast.RunUntilIdle();
        }

        broadcast.RunUntilWritten(() => slow.Select(listener => listener.Sink));
        foreach (var listener in slow) listener.AssertGot([.. Enumerable.Range(1, last).Where(i => i % 2 == 0)]);
        foreach (var listener in fast) listener.AssertGot([.. Enumerable.Range(1, last).Where(i => i % 2 == 1)]);
    }

    [Fact]
    public void PendingWrite_Fails_OtherConnectionsReceiveAllMessages()
    {
        using var broadcast = new TestEngine();
        Listener failing = new(broadcast, Name, filter: Even), other = new(broadcast, Name, filter: Even);
        failing.Sink.Mode = WriteMode.Later;
        for (var i = 1; i <= 10; i++) Publish(broadcast, i);
        broadcast.RunUntilIdle();
        failing.Sink.FailWrite();
        for (var i = 11; i <= 20; i++) Publish(broadcast, i);
        broadcast.RunUntilIdle();
        other.AssertGot(2, 4, 6, 8, 10, 12, 14, 16, 18, 20);
        Assert.True(failing.Request.IsAborted || failing.Connection.EndReason == EndReason.Lost);
    }

    [Fact]
    public void Publish_MoreFiltersThanBlockStores_AppliesEachFilter()
    {
        using var broadcast = new TestEngine();
        var listeners = Enumerable.Range(0, 50).Select(i => new Listener(broadcast, Name, filter: SubscriptionFilter.Parse($"digit = {i}"))).ToArray();
        for (var i = 0; i < 500; i++) Publish(broadcast, i + 1, tags: MessageTags.Create(("digit", $"{i % 50}")));
        broadcast.RunUntilIdle();
        for (var i = 0; i < 50; i++) listeners[i].AssertGot([.. Enumerable.Range(0, 500).Where(id => id % 50 == i).Select(id => id + 1)]);
    }

    [Theory]
    [InlineData("/a", "/b")]
    [InlineData("/b", "/a")]
    public void PublishToSeveralGroups_OneFilterRejects_ArrivesOnceThroughOtherGroup(string first, string second)
    {
        using var broadcast = new TestEngine();
        var listener = new Listener(broadcast);
        listener.Join(first, filter: Even);
        listener.Join(second, filter: Odd);
        for (var i = 1; i <= 4; i++) Publish(broadcast, i, Recipients.Groups("/a", "/b"));
        listener.Join("/c");
        for (var i = 5; i <= 8; i++) Publish(broadcast, i, Recipients.Groups("/a", "/b", "/c"));
        Publish(broadcast, 9, Recipients.Groups("/a", "/b"), tags: MessageTags.Create(("parity", "none")));
        broadcast.RunUntilIdle();
        listener.AssertGot(1, 2, 3, 4, 5, 6, 7, 8);
    }

    [Fact]
    public void SubscriptionFilter_JoinBeforeOrAfterFirstTransientMessage_Applies()
    {
        using var broadcast = new TestEngine();
        var early = new Listener(broadcast, filter: Even);
        early.Join(Name, filter: Even);
        PublishTransient(1);
        PublishTransient(2);
        var late = new Listener(broadcast);
        late.Join(Name, filter: Odd);
        PublishTransient(3);
        PublishTransient(4);
        broadcast.RunUntilIdle();
        early.AssertGot(2, 4);
        late.AssertGot(3);

        void PublishTransient(int id) =>
            broadcast.Publish(new Message(Payload.Make(id, 4), MessageType.Binary) { IsTransient = true, Tags = TagsOf(id) }, Recipients.Group(Name));
    }

    [Fact]
    public void Join_ReplayWithFilter_SkipsRejectedMessagesAndKeepsPositions()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History(Name, messages: 6));
        for (var i = 1; i <= 10; i++) Publish(broadcast, i);
        var epoch = Publish(broadcast, 11).Position!.Value.Epoch;
        Listener last = new(broadcast), after = new(broadcast), gone = new(broadcast);
        var result = last.Join(Name, Replay.Last(4), Even);
        Assert.Equal(new JoinResult(true, null, new(epoch, 7)), result);
        Assert.Equal(new JoinResult(true, true, new(epoch, 6)), after.Join(Name, Replay.After(new(epoch, 6)), Even));
        // Message 5 is gone, so the recovery is incomplete, although the filter would reject message 5.
        Assert.False(gone.Join(Name, Replay.After(new(epoch, 4)), Even).Recovered);
        Publish(broadcast, 12);
        broadcast.RunUntilIdle();
        last.AssertGot(8, 10, 12);
        after.AssertGot(8, 10, 12);
    }

    [Fact]
    public void Join_RetainedValues_SkipsRejectedValues()
    {
        using var broadcast = new TestEngine(configure: static options => options.Groups[Name] = new() { RetainLatestPerKey = true });
        foreach (var (id, key) in new[] { (1, "a"), (2, "b"), (4, "c"), (5, "b"), (6, "d"), (7, "a") }) Publish(broadcast, id, key: key);
        broadcast.Publish(new Message(Payload.Make(8, 4), MessageType.Binary) { Key = "d", RemoveKey = true, Tags = EvenTags }, Recipients.Group(Name));
        Listener even = new(broadcast), odd = new(broadcast), all = new(broadcast), none = new(broadcast);
        Assert.Equal(2, even.Join(Name, filter: Even).Position!.Value.Offset);
        odd.Join(Name, filter: SubscriptionFilter.FromDelegate(static message => message.Tags?["parity"] == "odd" && message.Key is "a" or "b"));
        all.Join(Name);
        none.Join(Name, filter: SubscriptionFilter.Parse("parity = none"));
        Publish(broadcast, 9, key: "c");
        Publish(broadcast, 10, key: "a");
        broadcast.RunUntilIdle();
        even.AssertGot(4, 10);
        odd.AssertGot(5, 7);
        all.AssertGot(4, 5, 7, 9, 10);
        none.AssertGot();
    }

    /// <summary>
    /// Tests the position that an event stream receives while it reads retained values. The values have lower offsets
    /// than the messages directly before the join. A higher position would make the client miss the next values.
    /// </summary>
    [Fact]
    public void TakePosition_BetweenRetainedValues_IsBeforeNextValue()
    {
        using var broadcast = new TestEngine(configure: static options => options.Groups[Name] = new() { RetainLatestPerKey = true });
        foreach (var (id, key) in new[] { (2, "a"), (4, "b"), (1, "c"), (3, "c"), (5, "c") }) Publish(broadcast, id, key: key);
        var writer = new Listener(broadcast).Connection.Writer;
        var options = new JoinOptions(default, EventStreamEncoder.ForHomeGroup, default, false) { Filters = new(Even, null) };
        var cursor = broadcast.Groups.Find(Name)!.Join(writer, options, out _, out var start)!;

        for (var offset = 1; offset <= 2; offset++)
        {
            Assert.True(cursor.TryPeek(out var sequence));
            var text = Encoding.UTF8.GetString(cursor.Read(sequence).Span);
            Assert.StartsWith($"id: {start with { Offset = offset }}\n", text, StringComparison.Ordinal);
            if (offset == 1) Assert.True(cursor.TakePosition().IsEmpty);
        }

        Assert.True(cursor.TryPeek(out var last));
        Assert.True(cursor.Read(last).IsEmpty);
        Assert.Equal($"id: {start with { Offset = 5 }}\n\n", Encoding.UTF8.GetString(cursor.TakePosition().Span));
    }

    /// <summary>Tests that rejected messages do not count toward the backlog limit of a slow client.</summary>
    [Fact]
    public void SlowClient_BacklogOfRejectedMessages_StaysConnected()
    {
        using var broadcast = new TestEngine(maxBacklog: 100_000);
        var slow = new Listener(broadcast, Name, filter: SubscriptionFilter.Parse("wanted = yes"));
        slow.Sink.Mode = WriteMode.Later;
        var wanted = new List<int>();
        for (var i = 1; i <= 1_000; i++)
        {
            var isWanted = i % 50 == 1;
            if (isWanted) wanted.Add(i);
            Publish(broadcast, i, tags: MessageTags.Create(("wanted", isWanted ? "yes" : "no")), size: 1_000);
            broadcast.RunUntilIdle();
        }

        Assert.True(slow.Sink.IsWriting);
        slow.Sink.Mode = WriteMode.AtOnce;
        broadcast.RunUntilWritten(() => [slow.Sink]);
        slow.AssertGot([.. wanted]);
    }

    [Fact]
    public void SlowClient_BacklogOfAcceptedMessages_IsClosed()
    {
        using var broadcast = new TestEngine(maxBacklog: 100_000);
        var slow = new Listener(broadcast, Name, filter: Even);
        slow.Sink.Mode = WriteMode.Later;
        for (var i = 1; i <= 1_000; i++)
        {
            Publish(broadcast, i, size: 1_000);
            broadcast.RunUntilIdle();
        }

        Assert.Equal(CloseStatus.TryAgainLater, slow.Connection.Writer.ClosingStatus);
        slow.Sink.CompleteWrite();
        broadcast.RunUntilIdle();
        Assert.Equal(CloseStatus.TryAgainLater, slow.Sink.Closed);
    }

    [Fact]
    public void SlowClient_SkipToLatest_ReceivesLatestAcceptedMessage()
    {
        using var broadcast = new TestEngine(maxBacklog: 20_000, configure: static options => options.Groups[Name] = new() { SlowConsumer = SlowConsumer.SkipToLatest });
        var slow = new Listener(broadcast, Name, filter: Even);
        slow.Sink.Mode = WriteMode.Later;
        for (var i = 1; i <= 999; i++)
        {
            Publish(broadcast, i, size: 1_000);
            broadcast.RunUntilIdle();
        }

        slow.Sink.Mode = WriteMode.AtOnce;
        broadcast.RunUntilWritten(() => [slow.Sink]);
        slow.AssertNoViolation();
        Assert.Equal((2, 998, null), (slow.Got[0], slow.Got[^1], slow.Sink.Closed));
        Assert.True(slow.Got.Count < 200, $"{slow.Got.Count}");
    }

    [Fact]
    public void SlowClient_Conflate_ReceivesLatestAcceptedMessageOfEachKey()
    {
        using var broadcast = new TestEngine(maxBacklog: 100_000, configure: static options => options.Groups[Name] = new() { SlowConsumer = SlowConsumer.Conflate });
        var slow = new Listener(broadcast, Name, filter: Even);
        slow.Sink.Mode = WriteMode.Later;
        for (var i = 1; i <= 2_000; i++)
        {
            // After each accepted message except the last one, a rejected message with the same key follows.
            Publish(broadcast, i, size: 1_000, key: $"{i / 2 % 5}");
            broadcast.RunUntilIdle();
        }

        slow.Sink.Mode = WriteMode.AtOnce;
        broadcast.RunUntilWritten(() => [slow.Sink]);
        slow.AssertNoViolation();
        Assert.Null(slow.Sink.Closed);
        Assert.All(slow.Got, id => Assert.Equal(0, id % 2));
        Assert.Equal([1992, 1994, 1996, 1998, 2000], slow.Got.TakeLast(5));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void FilterDelegate_Throws_SendsEarlierMessagesAndClosesOnlyThatConnection(bool isOneAtATime)
    {
        using var broadcast = new TestEngine();
        var failing = new Listener(broadcast, Name, filter: SubscriptionFilter.FromDelegate(static message =>
            BitConverter.ToInt32(message.Payload.Span) == 3 ? throw new InvalidOperationException("A bug.") : true));
        Listener other = new(broadcast, Name), filtered = new(broadcast, Name, filter: Odd);
        for (var i = 1; i <= 5; i++)
        {
            Publish(broadcast, i);
            if (isOneAtATime) broadcast.RunUntilIdle();
        }

        broadcast.RunUntilIdle();
        failing.AssertNoViolation();
        Assert.Equal([1, 2], failing.Got);
        Assert.Equal((WebSocketCloseStatus.InternalServerError, EndReason.Failed), (failing.Sink.Closed, failing.Connection.EndReason));
        other.AssertGot(1, 2, 3, 4, 5);
        filtered.AssertGot(1, 3, 5);
    }

    [Fact]
    public void FilterDelegate_MessageExcludesMember_IsNotCalled()
    {
        using var broadcast = new TestEngine();
        var listener = new Listener(broadcast, Name, filter: SubscriptionFilter.FromDelegate(static message =>
            BitConverter.ToInt32(message.Payload.Span) == 2 ? throw new InvalidOperationException("A bug.") : true));
        Publish(broadcast, 1);
        var excluded = new Message(Payload.Make(2, 4), MessageType.Binary);
        broadcast.Publish(excluded, Recipients.Group(Name).Except(listener.Connection.Id));
        Publish(broadcast, 3);
        broadcast.RunUntilIdle();
        listener.AssertGot(1, 3);
    }

    [Fact]
    public void FilterDelegate_ThrowsWhileWriteIsPending_ClosesConnection()
    {
        using var broadcast = new TestEngine(maxBacklog: 20_000);
        var isFailing = false;
        var slow = new Listener(broadcast, Name, filter: SubscriptionFilter.FromDelegate(_ => isFailing ? throw new InvalidOperationException("A bug.") : true));
        slow.Sink.Mode = WriteMode.Later;
        Publish(broadcast, 1);
        broadcast.RunUntilIdle();
        isFailing = true;
        for (var i = 2; i <= 20; i++)
        {
            Publish(broadcast, i, size: 1_000);
            broadcast.RunUntilIdle();
        }

        Assert.Equal(WebSocketCloseStatus.InternalServerError, slow.Connection.Writer.ClosingStatus);
        slow.Sink.Mode = WriteMode.AtOnce;
        broadcast.RunUntilWritten(() => [slow.Sink]);
        slow.AssertNoViolation();
        Assert.Equal(WebSocketCloseStatus.InternalServerError, slow.Sink.Closed);
    }

    [Fact]
    public void FilterDelegate_MessageWithProperties_ReceivesAllProperties()
    {
        using var broadcast = new TestEngine();
        var seen = new List<string>();
        _ = new Listener(broadcast, Name, filter: SubscriptionFilter.FromDelegate(message =>
        {
            seen.Add($"{message} {message.Type} {message.Key} {message.IsJson} {message.Tags}");
            return false;
        }));
        broadcast.Publish(new Message("[1]"u8.ToArray(), MessageType.Text) { IsJson = true, Key = "k", Tags = EvenTags }, Recipients.Group(Name));
        broadcast.Publish(Message.FromText("x"), Recipients.Group(Name));
        broadcast.RunUntilIdle();
        Assert.Equal(["[1] Text k True parity=even", "x Text  False "], seen.Distinct());
    }

    /// <summary>
    /// Tests that a heartbeat sends the position to an event stream, even if the filter rejects the newest messages.
    /// </summary>
    [Fact]
    public void EventStream_NewestMessagesRejected_ReceivesIdAtHeartbeat()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History(Name));
        var text = new StringBuilder();
        var sink = new ManualSink(frames => text.Append(Encoding.UTF8.GetString(frames.Span)));
        var connection = broadcast.Connect(broadcast.Pumps[0], Name, sink, protocol: EventStreamFormat.Instance, filter: Even);
        var start = Publish(broadcast, 1).Position!.Value;
        Publish(broadcast, 2);
        Publish(broadcast, 3);
        Publish(broadcast, 5);
        broadcast.RunUntilIdle();
        var sent = text.ToString();
        Assert.Contains($"id: {start with { Offset = 0 }}\n\n", sent, StringComparison.Ordinal);
        Assert.EndsWith("\n\n", sent, StringComparison.Ordinal);
        Assert.Equal(1, Count($"id: {start with { Offset = 2 }}\n"));
        Assert.Equal(0, Count($"id: {start with { Offset = 4 }}\n"));
        Beat();
        Assert.Equal(sent + $"id: {start with { Offset = 4 }}\n\n", text.ToString());
        // Without new messages, the client needs no other ID.
        Beat();
        Beat();
        Assert.Equal(sent + $"id: {start with { Offset = 4 }}\n\n", text.ToString());
        // Before the stream ends, the server sends the newest position.
        Publish(broadcast, 7);
        connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.EndpointUnavailable, "bye");
        broadcast.RunUntilIdle();
        Assert.EndsWith($"id: {start with { Offset = 5 }}\n\n", text.ToString(), StringComparison.Ordinal);

        void Beat()
        {
            broadcast.Time.Advance(TimeSpan.FromSeconds(5));
            broadcast.RunUntilIdle();
        }

        int Count(string line) => text.ToString().Split(line).Length - 1;
    }

    [Fact]
    public void Leave_ByClient_KeepsServerFilterForNextJoin()
    {
        using var broadcast = new TestEngine();
        var listener = new Listener(broadcast);
        listener.Join(Name, filter: Even);
        Assert.True(listener.Connection.LeaveAsClient(Name));
        Assert.True(Joined(listener.Connection.JoinAsClientAsync(Name, null)));
        Publish(broadcast, 1);
        Publish(broadcast, 2);
        Assert.True(listener.Connection.LeaveAsClient(Name));
        // The client can only narrow the filter.
        Assert.True(Joined(listener.Connection.JoinAsClientAsync(Name, SubscriptionFilter.Parse("parity = odd or parity = even"))));
        Publish(broadcast, 3);
        Publish(broadcast, 4);
        Assert.True(listener.Connection.LeaveAsClient(Name));
        Assert.True(Joined(listener.Connection.JoinAsClientAsync(Name, Odd)));
        Publish(broadcast, 5);
        Publish(broadcast, 6);
        broadcast.RunUntilIdle();
        listener.AssertGot(2, 4);

        // A leave by the app removes the filter.
        listener.Leave(Name);
        Assert.True(Joined(listener.Connection.JoinAsClientAsync(Name, null)));
        Publish(broadcast, 7);
        broadcast.RunUntilIdle();
        listener.AssertGot(2, 4, 7);
    }

    /// <summary>A client must not be able to increase the number of stored filters without a limit.</summary>
    [Fact]
    public void MaxGroupsPerConnection_ClientLeftGroupsWithFilters_CountsTheseGroups()
    {
        using var broadcast = new TestEngine(configure: static options => options.MaxGroupsPerConnection = 4);
        var listener = new Listener(broadcast);
        // The home group also counts.
        foreach (var group in new[] { "/1", "/2", "/3" })
        {
            Assert.True(listener.Join(group, filter: Even).Joined);
            Assert.True(listener.Connection.LeaveAsClient(group));
        }

        Assert.Throws<InvalidOperationException>(() => listener.Join("/4", filter: Even));
        Assert.True(Joined(listener.Connection.JoinAsClientAsync("/2", null)));
        Assert.True(listener.Connection.LeaveAsClient("/2"));
        // The connection is not a member of the group, but this call removes the filter of the app.
        Assert.False(listener.Connection.Leave("/1"));
        Assert.True(listener.Join("/4", filter: Even).Joined);
        Assert.Throws<InvalidOperationException>(() => listener.Join("/5"));
    }

    [Fact]
    public void Join_AlreadyMember_KeepsServerFilter()
    {
        using var broadcast = new TestEngine();
        var listener = new Listener(broadcast);
        listener.Join(Name, filter: Even);
        Assert.False(listener.Join(Name).Joined);
        Assert.True(listener.Connection.LeaveAsClient(Name));
        Assert.True(Joined(listener.Connection.JoinAsClientAsync(Name, null)));
        Publish(broadcast, 1);
        Publish(broadcast, 2);
        broadcast.RunUntilIdle();
        listener.AssertGot(2);
    }

    /// <summary>
    /// Tests that a client cannot avoid a filter of the app with an earlier join. Each filter must apply exactly from the
    /// next message on.
    /// </summary>
    [Fact]
    public void Join_ClientIsAlreadyMember_AppliesFilterOfAppFromNextMessage()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History(Name));
        var listener = new Listener(broadcast);
        Assert.True(Joined(listener.Connection.JoinAsClientAsync(Name, SubscriptionFilter.Parse("parity"))));
        PublishFive(10);
        Assert.Equal(default, listener.Join(Name, Replay.Last(10), Even));
        PublishFive(20);
        Assert.Equal(default, listener.Join(Name));
        PublishFive(30);
        // Another filter of the app replaces the filter. The filter of the client still rejects messages without tags.
        Assert.Equal(default, listener.Join(Name, filter: SubscriptionFilter.Parse("parity != even")));
        PublishFive(40);
        Assert.Equal((1, 1), (broadcast.Connections.CountGroupMembers(Name), Publish(broadcast, 50).LocalRecipients));
        broadcast.RunUntilIdle();
        listener.AssertGot(10, 11, 12, 13, 20, 22, 30, 32, 41, 43);

        // The client joins again without its filter.
        Assert.True(listener.Connection.LeaveAsClient(Name));
        Assert.True(Joined(listener.Connection.JoinAsClientAsync(Name, null)));
        PublishFive(60);
        broadcast.RunUntilIdle();
        listener.AssertGot(10, 11, 12, 13, 20, 22, 30, 32, 41, 43, 61, 63, 64);

        // The messages are stored, stored, transient, transient, and stored without tags.
        void PublishFive(int first)
        {
            for (var id = first; id < first + 4; id++)
            {
                var message = new Message(Payload.Make(id, 4), MessageType.Binary) { IsTransient = id >= first + 2, Tags = TagsOf(id) };
                broadcast.Publish(message, Recipients.Group(Name));
            }

            broadcast.Publish(Name, first + 4);
        }
    }

    /// <summary>Tests that a client receives its start position once, even if the app sets a filter before the first write.</summary>
    [Fact]
    public void Join_MemberWithPositions_SendsStartOnceAndAppliesFilter()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History(Name));
        var text = new StringBuilder();
        var sink = new ManualSink(frames => text.Append(Encoding.UTF8.GetString(frames.Span)));
        var connection = broadcast.Connect(broadcast.Pumps[0], Name, sink, protocol: EventStreamFormat.Instance);
        Assert.False(connection.Join(Name, default, Even).Joined);
        Publish(broadcast, 1);
        var second = Publish(broadcast, 2).Position!.Value;
        broadcast.RunUntilIdle();
        Assert.False(connection.Join(Name, default, Odd).Joined);
        Publish(broadcast, 3);
        Publish(broadcast, 4);
        broadcast.RunUntilIdle();

        var ids = text.ToString().Split('\n').Where(static line => line.StartsWith("id: ", StringComparison.Ordinal));
        Assert.Equal([Id(0), Id(2), Id(3)], ids);

        string Id(long offset) => $"id: {second with { Offset = offset }}";
    }

    [Fact]
    public void SubscriptionFilter_SetAtConnectAfterJoinOfHomeGroup_Throws()
    {
        using var broadcast = new TestEngine();
        var connection = broadcast.Admit(broadcast.Pumps[0], Name);
        connection.Join(Name);
        var opening = broadcast.AttachAsync(connection, filter: Even).AsTask();
        Assert.Contains("Pass the subscription filter to JoinAsync", opening.Exception!.InnerException!.Message, StringComparison.Ordinal);
    }

    /// <summary>
    /// Tests that the server frees rejected messages. A reliable client does not receive these messages, so it never
    /// acknowledges them.
    /// </summary>
    [Fact]
    public void ReliableClient_RejectedMessages_AreFreedWithoutAcknowledgement()
    {
        using var broadcast = new TestEngine();
        var client = new ReliableReceiver();
        var sink = new ManualSink(frames => client.Receive(frames.Span));
        var connection = broadcast.Connect(broadcast.Pumps[0], Name, sink, protocol: ReliableReceiver.Protocol, filter: Even);
        PublishText(2);
        for (var i = 1; i <= 199; i += 2) PublishText(i);
        broadcast.RunUntilIdle();
        broadcast.Beat();
        broadcast.RunUntilIdle();
        Assert.True(Used() > 50_000, $"{Used()}");
        connection.Writer.OnAcknowledged(client.LastId);
        broadcast.RunUntilIdle();
        // When the next block starts, the log measures its retained bytes again.
        for (var i = 201; i <= 499; i += 2) PublishText(i);
        broadcast.Beat();
        broadcast.RunUntilIdle();
        PublishText(501, 70_000);
        Assert.InRange(Used(), 0, 200_000);
        Assert.Equal([2], client.Got);

        long Used() => broadcast.Groups.GetSettings("").Budget!.Used;
        void PublishText(int id, int size = 1_000) =>
            broadcast.Publish(ReliableReceiver.Numbered(id, size) with { Tags = TagsOf(id) }, Recipients.Group(Name));
    }

    static bool Joined(ValueTask<JoinResult> joining) => joining.AsTask() is { IsCompletedSuccessfully: true, Result.Joined: true };

    static MessageTags TagsOf(int id) => id % 2 == 0 ? EvenTags : OddTags;

    static PublishResult Publish(TestEngine broadcast, int id, Recipients? recipients = null, MessageTags? tags = null, int size = 4, string? key = null) => broadcast.Publish(
        new Message(Payload.Make(id, size), MessageType.Binary) { Tags = tags ?? TagsOf(id), Key = key }, recipients ?? Recipients.Group(Name));
}
