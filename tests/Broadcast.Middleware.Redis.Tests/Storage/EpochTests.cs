using Broadcast.Middleware.Redis.Tests.Infrastructure;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Storage;

/// <summary>Tests how a node reacts when Redis loses its data, returns to an older state, or is suspended.</summary>
public sealed class EpochTests : RedisTest
{
    [Fact]
    public async Task RedisRestart_Empty_ReportsLossAndStartsNewEpoch()
    {
        var (first, second) = (StartNode(), StartNode());
        var before = await first.SubscribeAsync(Group);
        await second.SubscribeAsync(Group);
        first.Backplane.SetMember(Group, "member", "value"u8.ToArray());
        for (var i = 0; i < 3; i++) await first.PublishAsync(Group, $"{i}");
        foreach (var node in new[] { first, second }) await node.WaitForMessagesAsync(Group, 3);
        await WaitForMemberAsync(second);

        await Redis.KillAsync();
        var publish = second.PublishAsync(Group, "published without Redis");
        await Redis.StartAsync();
        var position = await publish;
        Assert.NotEqual(before.Position.Epoch, position.Epoch);
        foreach (var node in new[] { first, second }) await node.WaitForLossAsync(Group);
        first.Clear(Group);
        var after = await first.SubscribeAsync(Group);
        Assert.Equal(position, after.Position);
        var next = await second.PublishAsync(Group, "after");
        await first.WaitForMessagesAsync(Group, 1);
        Assert.Equal((next, "after"), first.GetReceived(Group).Single());
        await WaitForMemberAsync(second);
    }

    [Fact]
    public async Task RedisFlush_WhileConnected_ReportsLossAndRestoresMembers()
    {
        var (first, second) = (StartNode(), StartNode());
        await first.SubscribeAsync(Group);
        first.Backplane.SetMember(Group, "member", "value"u8.ToArray());
        await WaitForMemberAsync(second);
        await using var connection = await Redis.ConnectAsync();
        await connection.GetServers()[0].FlushAllDatabasesAsync();
        await first.WaitForLossAsync(Group);
        await WaitForMemberAsync(second);
    }

    [Fact]
    public async Task RedisSuspended_ShorterThanPublishTimeout_LosesNoMessage()
    {
        var (first, second) = (StartNode(), StartNode());
        foreach (var node in new[] { first, second }) await node.SubscribeAsync(Group);
        await first.PublishAsync(Group, "before");
        await Redis.SuspendAsync();
        // The suspension is longer than NodeTimeout.
        var suspendedAt = TimeProvider.System.GetTimestamp();
        var waiting = Enumerable.Range(0, 100)
            .Select(i => (i % 2 == 0 ? first : second).PublishAsync(Group, $"{i}"))
            .ToArray();
        await TestNode.EventuallyAsync(
            () => new(TimeProvider.System.GetElapsedTime(suspendedAt) > TimeSpan.FromSeconds(3.5)),
            "Redis is suspended for 3.5 seconds.");
        Assert.DoesNotContain(waiting, publish => publish.IsCompleted);
        await Redis.ResumeAsync();
        var positions = await Task.WhenAll(waiting);
        Assert.Equal(
            Enumerable.Range(2, 100).Select(i => (long)i), positions.Select(position => position.Offset).Order());
        foreach (var node in new[] { first, second })
        {
            await node.WaitForMessagesAsync(Group, 101);
            var received = node.GetReceived(Group);
            Assert.Equal(
                Enumerable.Range(1, 101).Select(i => (long)i), received.Select(message => message.Position.Offset));
            for (var i = 0; i < positions.Length; i++)
                Assert.Equal((positions[i], $"{i}"), received[positions[i].Offset - 1]);
            Assert.Equal(0, node.GetLossCount(Group));
        }
    }

    /// <summary>
    /// Redis acknowledges a message and fails before any node receives the message. The replica does not have this
    /// message.
    /// </summary>
    [Theory]
    [InlineData("00:00:00.2", 0)]
    [InlineData("00:01:00", 1)]
    [InlineData("00:01:00", 3)]
    public async Task RedisRestore_WithoutAcknowledgedMessage_ReportsLossOnAllNodes(string checkInterval, int laterMessages)
    {
        void Configure(RedisBackplaneOptions options) => options.CheckInterval = TimeSpan.Parse(checkInterval);
        var (first, second) = (StartNode(configure: Configure), StartNode(configure: Configure));
        var start = await first.SubscribeAsync(Group);
        await second.SubscribeAsync(Group);
        for (var i = 1; i <= 5; i++) await first.PublishAsync(Group, $"{i}");
        foreach (var node in new[] { first, second }) await node.WaitForMessagesAsync(Group, 5);

        ((RedisBackplane)first.Backplane).Subscriptions.OnAcknowledged(Group, $"{start.Position.Epoch:x16}", 6, "lost:1");
        for (var i = 1; i <= laterMessages; i++) await second.PublishAsync(Group, $"later {i}");

        await first.WaitForLossAsync(Group);
        if (laterMessages == 0) await second.WaitForLossAsync(Group);
        else Assert.NotEqual(start.Position.Epoch, (await second.PublishAsync(Group, "in the new epoch")).Epoch);
        await second.WaitForLossAsync(Group);
    }

    /// <summary>The acknowledgement of a message can arrive while the node delivers the same message.</summary>
    [Fact]
    public async Task RedisRestore_AfterLateAcknowledgement_ReportsLoss()
    {
        var backplane = (RedisBackplane)Nodes.Create(Redis.Configuration);
        var receiver = new Receiver(position => Acknowledge(position.Epoch, position.Offset));
        backplane.Start(receiver);
        var start = await backplane.SubscribeAsync(Group, null, Token);
        await StartNode().PublishAsync(Group, "1");
        await receiver.Received.WaitAsync(TestNode.Patience, Token);
        // Simulate a second message that Redis acknowledged, and then lost before any node received the message.
        Acknowledge(start.Position.Epoch, 2);
        await receiver.Lost.WaitAsync(TestNode.Patience, Token);

        void Acknowledge(ulong epoch, long offset) =>
            backplane.Subscriptions.OnAcknowledged(Group, $"{epoch:x16}", offset, $"tag{offset}");
    }

    [Fact]
    public async Task Publish_ConcurrentlyOnTwoNodes_ReportsNoLoss()
    {
        var (first, second) = (StartNode(), StartNode());
        foreach (var node in new[] { first, second }) await node.SubscribeAsync(Group);
        await Task.WhenAll(Enumerable.Range(0, 200).Select(i => (i % 2 == 0 ? first : second).PublishAsync(Group, $"{i}")));
        foreach (var node in new[] { first, second })
        {
            await node.WaitForMessagesAsync(Group, 200);
            Assert.Equal(0, node.GetLossCount(Group));
        }
    }

    [Theory]
    [InlineData("00:00:00.2", false)]
    [InlineData("00:01:00", true)]
    public async Task RedisRestore_OlderState_ReportsLossAndStartsNewEpoch(string checkInterval, bool publishesNext)
    {
        void Configure(RedisBackplaneOptions options) => options.CheckInterval = TimeSpan.Parse(checkInterval);
        var (first, second) = (StartNode(configure: Configure), StartNode(configure: Configure));
        var start = await first.SubscribeAsync(Group);
        for (var i = 1; i <= 5; i++) await first.PublishAsync(Group, $"{i}");
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        RedisKey[] keys = [Keys.State, Keys.Stream, Keys.Index];
        var dumps = new List<byte[]>();
        foreach (var key in keys) dumps.Add((await database.KeyDumpAsync(key))!);
        for (var i = 6; i <= 10; i++) await first.PublishAsync(Group, $"{i}");
        await first.WaitForMessagesAsync(Group, 10);

        // Simulate the failover to a replica without the last five messages. Before the node checks the group, new
        // messages get the offsets 6 to 10, or 6 to 15.
        var transaction = database.CreateTransaction();
        foreach (var (key, dump) in keys.Zip(dumps))
        {
            _ = transaction.KeyDeleteAsync(key);
            _ = transaction.KeyRestoreAsync(key, dump);
        }

        for (var i = 6; i <= (publishesNext ? 10 : 15); i++)
            _ = UndeliveredMessage.PublishAsync(transaction, Keys, i, $"other {i}");
        // This message has the next offset that the node expects, but the previous batch is a different batch. Publish
        // the message in the same transaction, because a check could otherwise find the older state first.
        if (publishesNext) _ = UndeliveredMessage.PublishAsync(transaction, Keys, 11, "next", channel: Keys.FullChannel);
        Assert.True(await transaction.ExecuteAsync());
        await first.WaitForLossAsync(Group);
        Assert.Equal(Enumerable.Range(1, 10).Select(i => $"{i}"), first.GetReceivedTexts(Group));
        var after = await second.SubscribeAsync(Group);
        Assert.NotEqual(start.Position.Epoch, after.Position.Epoch);
    }

    [Fact]
    public async Task RedisRestore_BatchesEndAtOtherOffsets_ReportsLossAndStartsNewEpoch()
    {
        var node = StartNode();
        var start = await node.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        await UndeliveredMessage.PublishAsync(database, Keys, 1, "before", count: 3);
        await node.WaitForMessagesAsync(Group, 3);

        var epoch = await database.HashGetAsync(Keys.State, "e");
        var transaction = database.CreateTransaction();
        _ = transaction.KeyDeleteAsync([Keys.State, Keys.Stream, Keys.Index]);
        _ = transaction.HashSetAsync(Keys.State, [new("e", epoch), new("o", 0), new("g", "-"), new("b", 0)]);
        for (var i = 2; i <= 3; i++)
            _ = UndeliveredMessage.PublishAsync(transaction, Keys, i, "after", count: 2);
        Assert.True(await transaction.ExecuteAsync());
        await node.WaitForLossAsync(Group);
        Assert.NotEqual(epoch, await database.HashGetAsync(Keys.State, "e"));
        Assert.NotEqual(start.Position.Epoch, (await node.SubscribeAsync(Group)).Position.Epoch);
    }

    /// <summary>
    /// Redis fails before it has replicated the batches of three nodes. The nodes send their batches again, and Redis
    /// stores them in another order. The last batch has the same node, number and offset as before the failure.
    /// </summary>
    [Fact]
    public async Task RedisRestore_SameBatchesInOtherOrder_ReportsLossAndStartsNewEpoch()
    {
        var node = StartNode();
        var start = await node.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        foreach (var other in new[] { "n1", "n2", "n3" }) await PublishAsync(database, other);
        await node.WaitForMessagesAsync(Group, 3);

        var epoch = await database.HashGetAsync(Keys.State, "e");
        var transaction = database.CreateTransaction();
        _ = transaction.KeyDeleteAsync([Keys.State, Keys.Stream, Keys.Index]);
        _ = transaction.HashSetAsync(Keys.State, [new("e", epoch), new("o", 0), new("g", "-"), new("b", 0)]);
        foreach (var other in new[] { "n2", "n1", "n3" }) _ = PublishAsync(transaction, other);
        Assert.True(await transaction.ExecuteAsync());

        await node.WaitForLossAsync(Group);
        Assert.NotEqual(start.Position.Epoch, (await node.SubscribeAsync(Group)).Position.Epoch);

        Task PublishAsync(IDatabaseAsync database, string node) =>
            UndeliveredMessage.PublishAsync(database, Keys, 1, node, node);
    }

    /// <summary>
    /// The stream begins after the last batch of the node. The previous tag of the first entry belongs to another batch.
    /// </summary>
    [Fact]
    public async Task RedisRestore_OtherBatchBeforeStart_ReportsLossAndStartsNewEpoch()
    {
        var (node, start) = await StartNodeWithMessageAsync();
        await using var connection = await Redis.ConnectAsync();
        var transaction = connection.GetDatabase().CreateTransaction();
        _ = transaction.KeyDeleteAsync([Keys.Stream, Keys.Index]);
        _ = transaction.HashSetAsync(Keys.State, "g", "0123456789abcdef");
        _ = UndeliveredMessage.PublishAsync(transaction, Keys, 1, "2");
        Assert.True(await transaction.ExecuteAsync());
        await node.WaitForLossAsync(Group);
        Assert.Equal(["1"], node.GetReceivedTexts(Group));
        Assert.InRange((await node.SubscribeAsync(Group)).Position.Epoch, start.Epoch + 1, ulong.MaxValue);
    }

    /// <summary>
    /// A replica that still has an earlier epoch becomes the master. A client can have a position in the earlier epoch,
    /// after the messages of the replica. So the earlier epoch must not continue.
    /// </summary>
    [Fact]
    public async Task RedisRestore_EarlierEpoch_StartsLaterEpoch()
    {
        var (first, second) = (StartNode(), StartNode());
        var start = await first.SubscribeAsync(Group);
        await first.PublishAsync(Group, "in the first epoch");
        await first.WaitForMessagesAsync(Group, 1);
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        RedisKey[] keys = [Keys.State, Keys.Stream, Keys.Index];
        var dumps = new List<byte[]>();
        foreach (var key in keys) dumps.Add((await database.KeyDumpAsync(key))!);
        await database.KeyDeleteAsync(keys);
        await first.WaitForLossAsync(Group);
        first.Clear(Group);
        var later = await first.SubscribeAsync(Group);
        Assert.InRange(later.Position.Epoch, start.Position.Epoch + 1, ulong.MaxValue);

        var transaction = database.CreateTransaction();
        foreach (var (key, dump) in keys.Zip(dumps))
        {
            _ = transaction.KeyDeleteAsync(key);
            _ = transaction.KeyRestoreAsync(key, dump);
        }

        Assert.True(await transaction.ExecuteAsync());
        await first.WaitForLossAsync(Group);
        var last = await second.SubscribeAsync(Group);
        Assert.InRange(last.Position.Epoch, later.Position.Epoch + 1, ulong.MaxValue);
    }

    [Fact]
    public async Task RedisRestore_WithoutNewMessages_ReportsLoss()
    {
        var node = StartNode();
        await node.SubscribeAsync(Group);
        await node.PublishAsync(Group, "1");
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        var backup = Keys.State.Append("!");
        await database.KeyCopyAsync(Keys.State, backup);
        await node.PublishAsync(Group, "2");
        await node.WaitForMessagesAsync(Group, 2);
        await database.KeyCopyAsync(backup, Keys.State, replace: true);
        await node.WaitForLossAsync(Group);
    }

    static Task WaitForMemberAsync(TestNode node) => TestNode.EventuallyAsync(
        async () => await node.Backplane.CountMembersAsync(Group, Token) == 1, "The member is listed.");

    sealed class Receiver(Action<Position> onMessage) : IBackplaneReceiver
    {
        readonly TaskCompletionSource _received = new(TaskCreationOptions.RunContinuationsAsynchronously);
        readonly TaskCompletionSource _lost = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task Received => _received.Task;

        public Task Lost => _lost.Task;

        public void OnMessage(string group, Position position, ReadOnlyMemory<byte> message)
        {
            onMessage(position);
            _received.TrySetResult();
        }

        public void OnTransientMessage(string group, Position after, ReadOnlyMemory<byte> message) =>
            throw new InvalidOperationException("This test has no transient messages.");

        public void OnLost(string group) => _lost.TrySetResult();
    }
}
