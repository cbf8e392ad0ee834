using System.Collections.Concurrent;
using System.Text;
using Broadcast.Middleware.Tests.Clustering;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Publishing;

/// <summary>Tests that a publish with a <see cref="Message.Id"/> takes effect once.</summary>
public sealed class MessageIdTests
{
    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Publish_SameId_TakesEffectOnceForEachRecipient()
    {
        await using var app = await BroadcastApp.StartAsync(TestUsers.Add);
        await using var ann = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        var id = app.Registry.Connections.Single().Id;
        Recipients[] all = [Recipients.Everyone, Recipients.Group("/ws"), Recipients.User("ann"), Recipients.Connection(id)];
        foreach (var recipients in all)
        {
            var first = await app.Broadcaster.PublishAsync(WithId("id", "once"), recipients, Token);
            Assert.Equal((1, false), (first.LocalRecipients, first.IsDuplicate));
            for (var i = 0; i < 3; i++)
            {
                var again = await app.Broadcaster.PublishAsync(WithId("id", "again"), recipients, Token);
                Assert.Equal(new PublishResult(first.Position, 0) { IsDuplicate = true }, again);
            }
        }

        await app.Broadcaster.PublishAsync(WithId("other", "end"), Recipients.Group("/ws"), Token);
        foreach (var text in (string[])["once", "once", "once", "once", "end"]) Assert.Equal(text, (await ann.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task Publish_FilterSetsId_DropsRepeatedMessagesOfClients()
    {
        var results = new ConcurrentQueue<bool>();
        await using var app = await BroadcastApp.StartAsync(map: web => web.MapBroadcast("/ws").Use(async (context, next) =>
        {
            context.Message = context.Message with { Id = context.Text![..1] };
            await next(context);
            results.Enqueue(context.Result.IsDuplicate);
        }));
        await using var ann = await RawClient.OpenAsync(app);
        await ann.SendAsync(ClientFrame.CreateText("1a"), ClientFrame.CreateText("1b"), ClientFrame.CreateText("2"));
        Assert.Equal("1a", (await ann.ReadFrameAsync()).Text);
        Assert.Equal("2", (await ann.ReadFrameAsync()).Text);
        await Eventually.True(() => results.Count == 3);
        Assert.Equal([false, true, false], results);
    }

    [Fact]
    public async Task Reply_SameId_TakesEffectOnce()
    {
        await using var app = await BroadcastApp.StartAsync(map: web => web.MapBroadcast("/ws").Use(async (context, _) =>
            await context.ReplyAsync(context.Message with { Id = context.Text![..1] }, Token)));
        await using var ann = await RawClient.OpenAsync(app);
        await ann.SendAsync(ClientFrame.CreateText("1a"), ClientFrame.CreateText("1b"), ClientFrame.CreateText("2"));
        Assert.Equal("1a", (await ann.ReadFrameAsync()).Text);
        Assert.Equal("2", (await ann.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task Publish_RegistryFailsOnce_RetryReachesEachConnectionOnce()
    {
        var searches = 0;
        var registry = new FaultyRegistry { OnFind = found => Interlocked.Increment(ref searches) == 1 ? FailAfterFirst(found) : found };
        await using var app = await BroadcastApp.StartAsync(builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddSingleton<IConnectionRegistry>(registry);
        });
        await using var one = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        await using var two = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await PublishAsync());
        Assert.Equal(2, (await PublishAsync()).LocalRecipients);
        Assert.True((await PublishAsync()).IsDuplicate);
        await app.PublishAsync("end");
        foreach (var client in (RawClient[])[one, two])
        {
            Assert.Equal("once", (await client.ReadFrameAsync()).Text);
            Assert.Equal("end", (await client.ReadFrameAsync()).Text);
        }

        ValueTask<PublishResult> PublishAsync() => app.Broadcaster.PublishAsync(WithId("id", "once"), Recipients.User("ann"), Token);

        static IEnumerable<IBroadcastConnection> FailAfterFirst(IEnumerable<IBroadcastConnection> found)
        {
            yield return found.First();
            throw new InvalidOperationException("The registry failed.");
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Publish_RegistryFailsDuringConcurrentRepeat_RepeatTakesEffect(bool failsLate)
    {
        var searches = 0;
        using var isSearching = new SemaphoreSlim(0);
        using var mayFail = new SemaphoreSlim(0);
        var registry = new FaultyRegistry
        {
            OnFind = found =>
            {
                if (Interlocked.Increment(ref searches) > 1) return found;
                return failsLate ? found.Concat(new[] { 0 }.Select(_ => Fail())) : [Fail()];
            },
        };
        using var broadcast = new TestEngine(registry: registry);
        var listener = new Listener(broadcast, request: new FakeRequest { UserId = "ann" });
        var first = Task.Run(Publish, Token);
        Assert.True(await isSearching.WaitAsync(Eventually.Patience, Token));
        var repeated = Publish();
        mayFail.Release();
        await Assert.ThrowsAsync<InvalidOperationException>(() => first);
        Assert.Equal(new PublishResult(null, 1), repeated);
        Assert.True(Publish().IsDuplicate);
        broadcast.RunUntilIdle();
        listener.AssertGot(1);

        PublishResult Publish() => broadcast.Publish(new Message(Payload.Make(1, 4), MessageType.Binary) { Id = "id" }, Recipients.User("ann"));

        IBroadcastConnection Fail()
        {
            isSearching.Release();
            mayFail.Wait(Eventually.Patience, Token);
            throw new InvalidOperationException("The registry failed.");
        }
    }

    [Fact]
    public void Publish_SameIdAfterWindow_TakesEffectAgain()
    {
        using var broadcast = new TestEngine(configure: static options => options.MessageIdWindow = TimeSpan.FromSeconds(10));
        var listener = new Listener(broadcast);
        Assert.False(Publish(broadcast, 1).IsDuplicate);
        broadcast.Time.Advance(TimeSpan.FromSeconds(9.9));
        Assert.True(Publish(broadcast, 2).IsDuplicate);
        broadcast.Time.Advance(TimeSpan.FromSeconds(0.1));
        Assert.False(Publish(broadcast, 3).IsDuplicate);
        Assert.True(Publish(broadcast, 4).IsDuplicate);
        broadcast.RunUntilIdle();
        listener.AssertGot(1, 3);

        static PublishResult Publish(TestEngine broadcast, int number) =>
            broadcast.Publish(new Message(Payload.Make(number, 4), MessageType.Binary) { Id = "id" }, Recipients.Everyone);
    }

    [Fact]
    public void Publish_SameIdToSeveralGroups_ReachesOnlyGroupsWithoutEarlierPublish()
    {
        using var broadcast = new TestEngine();
        var (one, both) = (new Listener(broadcast), new Listener(broadcast));
        one.Join("/a");
        both.Join("/a");
        both.Join("/b");
        Assert.Equal(2, Publish(1, Recipients.Group("/a")).LocalRecipients);
        Assert.Equal(new PublishResult(null, 1), Publish(2, Recipients.Groups("/a", "/b")));
        Assert.Equal(new PublishResult(null, 0) { IsDuplicate = true }, Publish(3, Recipients.Groups("/b", "/a")));
        Assert.True(Publish(4, Recipients.Group("/b")).IsDuplicate);
        broadcast.RunUntilIdle();
        one.AssertGot(1);
        both.AssertGot(1, 2);

        PublishResult Publish(int number, Recipients recipients) =>
            broadcast.Publish(new Message(Payload.Make(number, 4), MessageType.Binary) { Id = "id" }, recipients);
    }

    [Fact]
    public async Task Publish_SameIdConcurrently_TakesEffectOnce()
    {
        using var broadcast = new TestEngine();
        var listener = new Listener(broadcast);
        var results = new ConcurrentQueue<PublishResult>();
        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() =>
        {
            for (var i = 1; i <= 500; i++)
            {
                var message = new Message(Payload.Make(i, 4), MessageType.Binary) { Id = $"{i}" };
                results.Enqueue(broadcast.Publish(message, Recipients.Everyone));
            }
        }, Token)));
        broadcast.RunUntilIdle();
        Assert.Equal(500, results.Count(result => !result.IsDuplicate));
        Assert.Equal(Enumerable.Range(1, 500), listener.Got.Order());
    }

    [Fact]
    public async Task Publish_SameIdConcurrentlyToSeveralGroups_ReachesMemberOfBothOnce()
    {
        using var broadcast = new TestEngine();
        var both = new Listener(broadcast);
        both.Join("/a");
        both.Join("/b");
        var results = await RepeatAsync(broadcast, Recipients.Groups("/a", "/b"), 2_000);
        broadcast.RunUntilIdle();
        both.AssertNoViolation();
        Assert.Equal(Enumerable.Range(1, 2_000), both.Got.Order());
        Assert.All(results, static ofId => Assert.Single(ofId, static result => !result.IsDuplicate));
    }

    [Fact]
    public async Task Publish_SameIdConcurrently_ReturnsPositionOfFirstPublish()
    {
        using var broadcast = new TestEngine(configure: static options => options.Groups["/a"] = new() { HistoryMessages = 10 });
        var results = await RepeatAsync(broadcast, Recipients.Group("/a"), 2_000);
        Assert.All(results, static ofId => Assert.NotNull(Assert.Single(ofId.DistinctBy(static result => result.Position)).Position));
        Assert.Equal(2_000, results.Select(static ofId => ofId.First().Position).Distinct().Count());
    }

    [Fact]
    public async Task Publish_SameIdToNoGroups_IsNoDuplicate()
    {
        using var broadcast = new TestEngine();
        await using var node = await StartNodeAsync();
        var message = WithId("id", "text");
        for (var i = 0; i < 2; i++)
        {
            Assert.Equal(new PublishResult(null, 0), broadcast.Publish(message, Recipients.Groups([])));
            Assert.False((await node.Broadcaster.PublishAsync(message, Recipients.Groups([]), Token)).IsDuplicate);
        }
    }

    [Theory]
    [InlineData('x', 0, false, "0 characters. Use 1 to 128 characters")]
    [InlineData('x', 129, false, "129 characters. Use 1 to 128 characters")]
    [InlineData('x', 1, true, "A transient message cannot have an ID")]
    [InlineData('\uD800', 1, false, "an unpaired surrogate")]
    [InlineData('\uD800', 2, false, "an unpaired surrogate")]
    [InlineData('\uDC00', 2, false, "an unpaired surrogate")]
    public async Task Publish_InvalidId_ThrowsAndDoesNotAffectNextMessage(char character, int length, bool isTransient, string problem)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var ann = await RawClient.OpenAsync(app);
        var message = Message.FromText("invalid") with { Id = new string(character, length), IsTransient = isTransient };
        var error = await Assert.ThrowsAsync<ArgumentException>(async () => await app.Broadcaster.PublishAsync(message, cancellationToken: Token));
        Assert.Contains(problem, error.Message, StringComparison.Ordinal);
        await app.Broadcaster.PublishAsync(WithId(new string('x', 126) + "\U0001F600", "valid"), cancellationToken: Token);
        Assert.Equal("valid", (await ann.ReadFrameAsync()).Text);
    }

    [Fact]
    public void PublishedIds_TooManyIds_ForgetsOldestFirst()
    {
        var ids = new PublishedIds(100, new FakeTimeProvider());
        for (var i = 0; i < 1_000; i++)
        {
            Assert.True(Claim(i));
            Assert.False(Claim(i));
            Assert.Equal(Math.Min(i + 1, 100), ids.Count);
        }

        for (var i = 900; i < 1_000; i++) Assert.False(Claim(i));
        Assert.True(Claim(0));
        Assert.True(Claim(900));

        bool Claim(int id) => ids.TryClaim(RecipientsKind.Group, "g", $"{id}", TimeSpan.FromMinutes(1), out _);
    }

    [Fact]
    public void PublishedIds_ReleasedAndClaimedAgain_KeepsSecondClaimForFullWindow()
    {
        var time = new FakeTimeProvider();
        var ids = new PublishedIds(100, time);
        Assert.True(Claim(out var released));
        ids.Release(RecipientsKind.User, "u", "id", released);
        time.Advance(TimeSpan.FromSeconds(40));
        Assert.True(Claim(out _));
        // The entry of the released claim expires, but the second claim stays.
        time.Advance(TimeSpan.FromSeconds(40));
        Assert.False(Claim(out _));
        time.Advance(TimeSpan.FromSeconds(40));
        Assert.True(Claim(out _));
        Assert.Equal(1, ids.Count);

        bool Claim(out PublishedIds.Entry entry) => ids.TryClaim(RecipientsKind.User, "u", "id", TimeSpan.FromMinutes(1), out entry);
    }

    [Fact]
    public void PublishedIds_ManyReleasedIds_ForgetsNoOtherId()
    {
        var ids = new PublishedIds(10, new FakeTimeProvider());
        Assert.True(Claim("published", out _));
        for (var i = 0; i < 100; i++)
        {
            // A failed publish releases its ID, and some publishers repeat the publish.
            var id = $"failed {i % 7}";
            Assert.True(Claim(id, out var released));
            ids.Release(RecipientsKind.User, "u", id, released);
        }

        Assert.False(Claim("published", out _));
        Assert.Equal(1, ids.Count);

        bool Claim(string id, out PublishedIds.Entry entry) => ids.TryClaim(RecipientsKind.User, "u", id, TimeSpan.FromMinutes(1), out entry);
    }

    [Fact]
    public void PublishedIds_ReleasedAndClaimedAgain_IsNewestId()
    {
        var ids = new PublishedIds(2, new FakeTimeProvider());
        Assert.True(Claim("first", out var released));
        Assert.True(Claim("second", out _));
        ids.Release(RecipientsKind.User, "u", "first", released);
        Assert.True(Claim("first", out _));
        Assert.True(Claim("third", out _));
        Assert.False(Claim("first", out _));
        Assert.True(Claim("second", out _));

        bool Claim(string id, out PublishedIds.Entry entry) => ids.TryClaim(RecipientsKind.User, "u", id, TimeSpan.FromMinutes(1), out entry);
    }

    [Fact]
    public void PublishedIds_ReleaseOfExpiredClaim_KeepsNewClaim()
    {
        var time = new FakeTimeProvider();
        var ids = new PublishedIds(100, time);
        Assert.True(Claim(out var expired));
        time.Advance(TimeSpan.FromMinutes(1));
        Assert.True(Claim(out _));
        ids.Release(RecipientsKind.User, "u", "id", expired);
        Assert.False(Claim(out _));

        bool Claim(out PublishedIds.Entry entry) => ids.TryClaim(RecipientsKind.User, "u", "id", TimeSpan.FromMinutes(1), out entry);
    }

    [Fact]
    public async Task TwoNodes_RepeatedPublishOnOtherNode_TakesEffectOnce()
    {
        await using var one = await StartNodeAsync();
        await using var two = await StartNodeAsync();
        await using var ann = await RawClient.OpenAsync(one, TestUsers.As("ann"));
        await using var device = await RawClient.OpenAsync(two, TestUsers.As("ann"));
        Recipients[] all = [Recipients.Everyone, Recipients.Group("/ws"), Recipients.Groups("/ws", "/x"), Recipients.User("ann")];
        foreach (var recipients in all)
        {
            for (var i = 0; i < 2; i++)
            {
                foreach (var app in (BroadcastApp[])[one, two]) await app.Broadcaster.PublishAsync(WithId($"{recipients}", $"{recipients}"), recipients, Token);
            }
        }

        var again = await one.Broadcaster.PublishAsync(WithId($"{Recipients.Everyone}", "again"), Recipients.Everyone, Token);
        Assert.True(again.IsDuplicate);
        Assert.True((await two.Broadcaster.PublishAsync(WithId($"{all[2]}", "again"), all[2], Token)).IsDuplicate);
        Assert.True((await one.Broadcaster.PublishAsync(WithId($"{all[3]}", "again"), all[3], Token)).IsDuplicate);
        await one.Broadcaster.PublishAsync("end", Recipients.User("ann"), cancellationToken: Token);
        foreach (var client in (RawClient[])[ann, device])
        {
            var texts = new List<string>();
            for (var i = 0; i < 5; i++) texts.Add((await client.ReadFrameAsync()).Text);
            Assert.Equal([.. all.Select(recipients => $"{recipients}").Order(), "end"], [.. texts[..4].Order(), texts[4]]);
        }
    }

    [Fact]
    public async Task TwoNodes_RetryAfterPartialFailure_ReachesRemainingRecipientsOnce()
    {
        FaultyBackplane? flaky = null;
        await using var one = await StartNodeAsync(backplane => flaky = new FaultyBackplane(backplane));
        await using var ann = await RawClient.OpenAsync(one);
        var id = one.Registry.Connections.Single().Id;
        await one.Broadcaster.JoinAsync(id, "/b", Token);
        flaky!.UnreachableGroup = "/b";
        var (message, recipients) = (WithId("id", "once"), Recipients.Groups("/ws", "/b", "/c"));
        await Assert.ThrowsAsync<BackplaneException>(async () => await one.Broadcaster.PublishAsync(message, recipients, Token));
        Assert.Equal("once", (await ann.ReadFrameAsync()).Text);
        flaky.UnreachableGroup = null;
        Assert.False((await one.Broadcaster.PublishAsync(message, recipients, Token)).IsDuplicate);
        Assert.True((await one.Broadcaster.PublishAsync(message, recipients, Token)).IsDuplicate);
        await one.Broadcaster.PublishAsync("end", Recipients.Group("/b"), cancellationToken: Token);
        // The client is a member of /ws and /b. The retry publishes the message to /b, but the node does not send the
        // message to this client again.
        Assert.Equal("end", (await ann.ReadFrameAsync()).Text);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task FourNodes_DeviceMovesBeforeRepeatedPublish_IsDuplicateOnEachNode(bool isDeviceOnPublisher)
    {
        await using var one = await StartNodeAsync();
        await using var two = await StartNodeAsync();
        await using var three = await StartNodeAsync();
        await using var four = await StartNodeAsync();
        await using (var device = await RawClient.OpenAsync(two, TestUsers.As("ann")))
        {
            await FindInboxesAsync("ann", two);
            var first = await PublishAsync(isDeviceOnPublisher ? two : one, "once");
            Assert.Equal(isDeviceOnPublisher ? new(null, 1) { RemoteNodes = 0 } : new PublishResult(null, 0) { RemoteNodes = 1 }, first);
            Assert.Equal("once", (await device.ReadFrameAsync()).Text);
            await device.LeaveAsync();
        }

        await using var moved = await RawClient.OpenAsync(three, TestUsers.As("ann"));
        await FindInboxesAsync("ann", three);
        foreach (var node in (BroadcastApp[])[four, three, two, one])
            Assert.Equal(new PublishResult(null, 0) { RemoteNodes = 0, IsDuplicate = true }, await PublishAsync(node, "again"));
        Assert.Equal(1, (await four.Broadcaster.PublishAsync("end", Recipients.User("ann"), cancellationToken: Token)).RemoteNodes);
        Assert.Equal("end", (await moved.ReadFrameAsync()).Text);

        ValueTask<PublishResult> PublishAsync(BroadcastApp node, string text) => node.Broadcaster.PublishAsync(WithId("id", text), Recipients.User("ann"), Token);
    }

    [Fact]
    public async Task FourNodes_SendToOneNodeFails_RetryOnOtherNodeReachesRemainingDeviceOnce()
    {
        FaultyBackplane? flaky = null;
        await using var one = await StartNodeAsync(backplane => flaky = new FaultyBackplane(backplane));
        await using var two = await StartNodeAsync();
        await using var three = await StartNodeAsync();
        await using var four = await StartNodeAsync();
        await using var device = await RawClient.OpenAsync(two, TestUsers.As("ann"));
        await using var missed = await RawClient.OpenAsync(three, TestUsers.As("ann"));
        flaky!.UnreachableGroup = (await FindInboxesAsync("ann", two, three))[1];
        await Assert.ThrowsAsync<BackplaneException>(async () => await PublishAsync(one));
        Assert.Equal("once", (await device.ReadFrameAsync()).Text);
        flaky.UnreachableGroup = null;
        Assert.Equal(new PublishResult(null, 0) { RemoteNodes = 2 }, await PublishAsync(four));
        foreach (var node in (BroadcastApp[])[one, two, three, four]) Assert.True((await PublishAsync(node)).IsDuplicate);
        await one.Broadcaster.PublishAsync("end", Recipients.User("ann"), cancellationToken: Token);
        Assert.Equal("end", (await device.ReadFrameAsync()).Text);
        Assert.Equal("once", (await missed.ReadFrameAsync()).Text);
        Assert.Equal("end", (await missed.ReadFrameAsync()).Text);

        ValueTask<PublishResult> PublishAsync(BroadcastApp node) => node.Broadcaster.PublishAsync(WithId("id", "once"), Recipients.User("ann"), Token);
    }

    /// <summary>The message reaches all devices, but then the node cannot store the ID in the cluster.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ThreeNodes_StoreOfIdFails_PublishThrowsAndRetryReachesNoDeviceTwice(bool isRetryOnOtherNode)
    {
        FaultyBackplane? flaky = null;
        await using var one = await StartNodeAsync(backplane => flaky = new FaultyBackplane(backplane));
        await using var two = await StartNodeAsync();
        await using var three = await StartNodeAsync();
        await using var local = await RawClient.OpenAsync(one, TestUsers.As("ann"));
        await using var remote = await RawClient.OpenAsync(two, TestUsers.As("ann"));
        await FindInboxesAsync("ann", one, two);
        flaky!.UnreachableGroup = "\u0001user:ann";
        await Assert.ThrowsAsync<BackplaneException>(async () => await PublishAsync(one));
        foreach (var client in (RawClient[])[local, remote]) Assert.Equal("once", (await client.ReadFrameAsync()).Text);
        flaky.UnreachableGroup = null;
        // The cluster does not know the ID, so the retry sends the message. The nodes of the devices drop it.
        Assert.Equal(
            new PublishResult(null, 0) { RemoteNodes = isRetryOnOtherNode ? 2 : 1 }, await PublishAsync(isRetryOnOtherNode ? three : one));
        foreach (var node in (BroadcastApp[])[one, two, three]) Assert.True((await PublishAsync(node)).IsDuplicate);
        await three.Broadcaster.PublishAsync("end", Recipients.User("ann"), cancellationToken: Token);
        foreach (var client in (RawClient[])[local, remote]) Assert.Equal("end", (await client.ReadFrameAsync()).Text);

        ValueTask<PublishResult> PublishAsync(BroadcastApp node) => node.Broadcaster.PublishAsync(WithId("id", "once"), Recipients.User("ann"), Token);
    }

    /// <summary>
    /// The first publish reaches one of two nodes. The device on this node then moves to the other node, or to a new node.
    /// </summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task FourNodes_DeviceWithMessageMovesAfterPartialFailure_RetryReachesNoDeviceTwice(bool movesToNewNode, bool isRetryOnItsNode)
    {
        FaultyBackplane? flaky = null;
        await using var one = await StartNodeAsync(backplane => flaky = new FaultyBackplane(backplane));
        await using var two = await StartNodeAsync();
        await using var three = await StartNodeAsync();
        await using var four = await StartNodeAsync();
        await using var missed = await RawClient.OpenAsync(three, TestUsers.As("ann"));
        var left = await FindInboxesAsync("ann", three);
        await using (var device = await RawClient.OpenAsync(two, TestUsers.As("ann")))
        {
            await FindInboxesAsync("ann", two, three);
            flaky!.UnreachableGroup = left[0];
            await Assert.ThrowsAsync<BackplaneException>(async () => await PublishAsync(one));
            Assert.Equal("once", (await device.ReadFrameAsync()).Text);
            await device.LeaveAsync();
        }

        var newNode = movesToNewNode ? four : three;
        await using var moved = await RawClient.OpenAsync(newNode, TestUsers.As("ann"));
        await FindInboxesAsync("ann", three, newNode);
        flaky.UnreachableGroup = null;
        var expected = isRetryOnItsNode && !movesToNewNode ? new PublishResult(null, 1) { RemoteNodes = 1 } : new(null, 0) { RemoteNodes = 2 };
        Assert.Equal(expected, await PublishAsync(isRetryOnItsNode ? newNode : one));
        foreach (var node in (BroadcastApp[])[one, two, three, four]) Assert.True((await PublishAsync(node)).IsDuplicate);
        await two.Broadcaster.PublishAsync("end", Recipients.User("ann"), cancellationToken: Token);
        foreach (var text in (string[])["once", "end"]) Assert.Equal(text, (await missed.ReadFrameAsync()).Text);
        Assert.Equal("end", (await moved.ReadFrameAsync()).Text);

        ValueTask<PublishResult> PublishAsync(BroadcastApp node) => node.Broadcaster.PublishAsync(WithId("id", "once"), Recipients.User("ann"), Token);
    }

    /// <summary>The node of the publisher crashes after it has stored the connections of the user and sent one of two messages.</summary>
    [Fact]
    public async Task ThreeNodes_PublisherCrashesDuringPublish_RetryReachesRemainingConnection()
    {
        FaultyBackplane? flaky = null;
        await using var one = await StartNodeAsync(backplane => flaky = new FaultyBackplane(backplane));
        await using var two = await StartNodeAsync();
        await using var three = await StartNodeAsync();
        await using var lost = await RawClient.OpenAsync(one, TestUsers.As("ann"));
        await using var remaining = await RawClient.OpenAsync(two, TestUsers.As("ann"));
        flaky!.UnreachableGroup = (await FindInboxesAsync("ann", one, two))[1];
        await Assert.ThrowsAsync<BackplaneException>(async () => await PublishAsync(one));
        Assert.Equal("once", (await lost.ReadFrameAsync()).Text);
        flaky.Lose();
        // The device of the lost node connects to another node.
        await using var moved = await RawClient.OpenAsync(three, TestUsers.As("ann"));
        await FindInboxesAsync("ann", two, three);

        Assert.Equal(2, (await PublishAsync(three)).RemoteNodes);
        foreach (var node in (BroadcastApp[])[two, three]) Assert.True((await PublishAsync(node)).IsDuplicate);
        await three.Broadcaster.PublishAsync("end", Recipients.User("ann"), cancellationToken: Token);
        foreach (var text in (string[])["once", "end"]) Assert.Equal(text, (await remaining.ReadFrameAsync()).Text);
        Assert.Equal("end", (await moved.ReadFrameAsync()).Text);

        ValueTask<PublishResult> PublishAsync(BroadcastApp node) => node.Broadcaster.PublishAsync(WithId("id", "once"), Recipients.User("ann"), Token);
    }

    /// <summary>A device moves between the nodes, and each node publishes each message.</summary>
    [Fact]
    public async Task ThreeNodes_ConcurrentPublishesWhileDeviceMoves_ReachEachDeviceOnce()
    {
        const int Ids = 60;
        await using var one = await StartNodeAsync();
        await using var two = await StartNodeAsync();
        await using var three = await StartNodeAsync();
        BroadcastApp[] nodes = [one, two, three];
        await using var local = await RawClient.OpenAsync(one, TestUsers.As("ann"));
        await using var remote = await RawClient.OpenAsync(two, TestUsers.As("ann"));
        var first = await OpenDeviceAsync(three);
        await FindInboxesAsync("ann", one, two, three);
        var moving = Task.Run(() => MoveAsync(first), Token);
        for (var i = 0; i < Ids; i++)
        {
            var text = $"{i}";
            var publishes = nodes.Concat(nodes).Select(node => Task.Run(() => PublishAsync(node, text).AsTask(), Token));
            Assert.Contains(await Task.WhenAll(publishes), static result => !result.IsDuplicate);
            foreach (var node in nodes) Assert.True((await PublishAsync(node, text)).IsDuplicate);
        }

        // The device can miss a message while it moves. So repeat the last message.
        await Contracts.Listener.EventuallyAsync(
            async () =>
            {
                await three.Broadcaster.PublishAsync("end", Recipients.User("ann"), cancellationToken: Token);
                return moving.IsCompleted;
            },
            Eventually.Patience, "The device receives the last message.");
        var received = await moving;
        Assert.NotEmpty(received);
        Assert.Equal(received.Distinct(), received);
        foreach (var client in (RawClient[])[local, remote])
        {
            for (var i = 0; i < Ids; i++) Assert.Equal($"{i}", (await client.ReadFrameAsync()).Text);
            Assert.Equal("end", (await client.ReadFrameAsync()).Text);
        }

        static ValueTask<PublishResult> PublishAsync(BroadcastApp node, string text) => node.Broadcaster.PublishAsync(WithId(text, text), Recipients.User("ann"), Token);

        static async Task<RawClient> OpenDeviceAsync(BroadcastApp node)
        {
            var device = await RawClient.ConnectAsync(node);
            Assert.Equal(101, (await device.HandshakeAsync("/ws", TestUsers.As("ann"))).Status);
            return device;
        }

        // Moves to the next node after each message, until the last message arrives. Returns the earlier messages.
        async Task<List<string>> MoveAsync(RawClient device)
        {
            var texts = new List<string>();
            for (var i = 0; !texts.Contains("end"); i++)
            {
                await using (device)
                {
                    texts.Add((await device.ReadFrameAsync()).Text);
                    await device.SendAsync(ClientFrame.CreateClose(1000));
                    while (await device.ReadFrameAsync() is { CloseCode: null } frame) texts.Add(frame.Text);
                }

                device = await OpenDeviceAsync(nodes[i % nodes.Length]);
            }

            await device.DisposeAsync();
            return [.. texts.Where(static text => text != "end")];
        }
    }

    [Fact]
    public async Task Publish_StoredConnectionsAreInvalid_ThrowsBackplaneExceptionAndReachesNoDevice()
    {
        var backplane = new ManualBackplane { Reserved = [9] };
        using var broadcast = new TestEngine(backplane: backplane);
        var ann = await Tests.Support.Listener.ConnectAsync(broadcast, user: "ann");
        var message = new Message(BitConverter.GetBytes(1), MessageType.Binary) { Id = "id" };

        var error = await Assert.ThrowsAsync<BackplaneException>(() => broadcast.PublishAsync(message, Recipients.User("ann"), Token).AsTask());

        Assert.Contains("Run the same package version on all nodes.", error.Message, StringComparison.Ordinal);
        broadcast.RunUntilIdle();
        ann.AssertGot();
        backplane.Reserved = null;
        Assert.Equal(1, (await broadcast.PublishAsync(message, Recipients.User("ann"), Token)).LocalRecipients);
        broadcast.RunUntilIdle();
        ann.AssertGot(1);
    }

    [Fact]
    public async Task OneNode_ClusterIsUnreachable_PublishToUserReachesDeviceOnlyAfterRetry()
    {
        FaultyBackplane? flaky = null;
        await using var one = await StartNodeAsync(backplane => flaky = new FaultyBackplane(backplane));
        await using var device = await RawClient.OpenAsync(one, TestUsers.As("ann"));
        await FindInboxesAsync("ann", one);
        flaky!.IsReachable = false;
        await Assert.ThrowsAsync<BackplaneException>(async () => await PublishAsync("early"));
        flaky.IsReachable = true;
        Assert.Equal(new PublishResult(null, 1) { RemoteNodes = 0 }, await PublishAsync("once"));
        Assert.True((await PublishAsync("again")).IsDuplicate);
        Assert.Equal("once", (await device.ReadFrameAsync()).Text);
        await device.AssertOpenAsync();

        ValueTask<PublishResult> PublishAsync(string text) => one.Broadcaster.PublishAsync(WithId("id", text), Recipients.User("ann"), Token);
    }

    [Fact]
    public async Task ThreeNodes_SameIdAfterWindow_ReachesUserAgain()
    {
        await using var one = await StartNodeAsync(window: TimeSpan.FromSeconds(1));
        await using var two = await StartNodeAsync(window: TimeSpan.FromSeconds(1));
        await using var three = await StartNodeAsync(window: TimeSpan.FromSeconds(1));
        await using var device = await RawClient.OpenAsync(two, TestUsers.As("ann"));
        await FindInboxesAsync("ann", two);
        Assert.Equal(1, (await PublishAsync(one, "once")).RemoteNodes);
        var second = default(PublishResult);
        await Contracts.Listener.EventuallyAsync(
            async () => !(second = await PublishAsync(three, "after window")).IsDuplicate, Eventually.Patience, "The ID expires.");
        Assert.Equal(1, second.RemoteNodes);
        await one.Broadcaster.PublishAsync("end", Recipients.User("ann"), cancellationToken: Token);
        foreach (var text in (string[])["once", "after window", "end"]) Assert.Equal(text, (await device.ReadFrameAsync()).Text);

        ValueTask<PublishResult> PublishAsync(BroadcastApp node, string text) => node.Broadcaster.PublishAsync(WithId("id", text), Recipients.User("ann"), Token);
    }

    [Fact]
    public async Task ThreeNodes_SameIdToOtherRecipients_TakesEffectForEachRecipient()
    {
        await using var one = await StartNodeAsync();
        await using var two = await StartNodeAsync();
        await using var three = await StartNodeAsync();
        await using var ann = await RawClient.OpenAsync(two, TestUsers.As("ann"));
        // The second user has the name of the first user's connection.
        var name = two.Registry.Connections.Single().Id;
        await using var second = await RawClient.OpenAsync(two, TestUsers.As(name));
        await FindInboxesAsync("ann", two);
        await FindInboxesAsync(name, two);
        Recipients[] all = [Recipients.Connection(name), Recipients.User(name), Recipients.User("ann"), Recipients.Group("ann"), Recipients.Group(name)];
        foreach (var recipients in all)
        {
            var first = await PublishAsync(one, recipients);
            Assert.Equal((false, recipients.Kind == RecipientsKind.Group ? null : 1), (first.IsDuplicate, first.RemoteNodes));
        }

        foreach (var recipients in all) Assert.True((await PublishAsync(one, recipients)).IsDuplicate);
        foreach (var recipients in all[1..]) Assert.True((await PublishAsync(three, recipients)).IsDuplicate);
        // For a connection, only the node of the connection knows the ID. This node drops the message.
        Assert.Equal(new PublishResult(null, 0) { RemoteNodes = 1 }, await PublishAsync(three, all[0]));
        await one.Broadcaster.PublishAsync("end", Recipients.Group("/ws"), cancellationToken: Token);
        foreach (var text in (string[])[$"{all[0]}", $"{all[2]}", "end"]) Assert.Equal(text, (await ann.ReadFrameAsync()).Text);
        foreach (var text in (string[])[$"{all[1]}", "end"]) Assert.Equal(text, (await second.ReadFrameAsync()).Text);

        static ValueTask<PublishResult> PublishAsync(BroadcastApp node, Recipients recipients) =>
            node.Broadcaster.PublishAsync(WithId("id", $"{recipients}"), recipients, Token);
    }

    Task<BroadcastApp> StartNodeAsync(Func<IBackplane, IBackplane>? wrap = null, TimeSpan? window = null) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            var node = _cluster.CreateNode();
            builder.Services.AddBroadcast().AddBackplane(_ => wrap?.Invoke(node) ?? node);
        },
        options: options => options.MessageIdWindow = window ?? options.MessageIdWindow);

    /// <summary>
    /// Waits until the cluster lists the connections of the user on each of these nodes and on no other node. Returns the
    /// inboxes of the nodes.
    /// </summary>
    async Task<string[]> FindInboxesAsync(string user, params BroadcastApp[] nodes)
    {
        var connections = nodes.Distinct().Select(node => node.Registry.GetUserConnections(user).Select(static connection => connection.Id).ToArray()).ToArray();
        Assert.DoesNotContain(connections, static ids => ids.Length == 0);
        IReadOnlyList<BackplaneMember> members = [];
        await Contracts.Listener.EventuallyAsync(
            async () =>
            {
                members = await _cluster.CreateNode().GetMembersAsync($"\u0001user:{user}", Token);
                return members.Select(static member => member.Name).Order().SequenceEqual(connections.SelectMany(static ids => ids).Order());
            },
            Eventually.Patience, "The cluster lists these connections.");
        return [.. connections.Select(ids => "\u0001node:" + Encoding.UTF8.GetString(members.Single(member => member.Name == ids[0]).Value.Span))];
    }

    /// <summary>
    /// Publishes messages with the numbers 1 to <paramref name="count"/>. Four threads publish each message at the same time, with the same ID.
    /// </summary>
    /// <returns>The results of the publishes, by number.</returns>
    static async Task<ILookup<int, PublishResult>> RepeatAsync(TestEngine broadcast, Recipients recipients, int count)
    {
        const int Threads = 4;
        var results = new ConcurrentQueue<(int Number, PublishResult Result)>();
        using var together = new Barrier(Threads);
        await Task.WhenAll(Enumerable.Range(0, Threads).Select(_ => Task.Factory.StartNew(Publish, Token, TaskCreationOptions.LongRunning, TaskScheduler.Default)));
        return results.ToLookup(static entry => entry.Number, static entry => entry.Result);

        void Publish()
        {
            for (var i = 1; i <= count; i++)
            {
                together.SignalAndWait(Token);
                var message = new Message(Payload.Make(i, 4), MessageType.Binary) { Id = $"{i}" };
                results.Enqueue((i, broadcast.Publish(message, recipients)));
            }
        }
    }

    static Message WithId(string id, string text) => Message.FromText(text) with { Id = id };
}
