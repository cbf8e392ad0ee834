using System.Text;
using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests.Publishing;

/// <summary>Tests that Redis accepts a message with an ID only once, even after lost answers and failures.</summary>
public sealed class MessageIdTests : RedisTest
{
    [Fact]
    public async Task PublishOnce_LostAnswer_IsSentAgainAndIsNoDuplicate()
    {
        var proxy = CreateProxy();
        var (publisher, subscriber) = (StartNode(proxy.Configuration), StartNode());
        await subscriber.SubscribeAsync(Group);
        await publisher.PublishUntilAcceptedAsync(Group, "0");
        proxy.DiscardAnswers();
        var publishing = publisher.PublishOnceAsync(Group, "id", "once");
        await subscriber.WaitForMessagesAsync(Group, 2);
        proxy.Disconnect();
        // The node sends the batch again. The answer must not report the node's own message as a duplicate.
        var (position, isDuplicate) = await publishing;
        Assert.Equal((2, false), (position.Offset, isDuplicate));
        Assert.Equal((position, true), await subscriber.PublishOnceAsync(Group, "id", "again"));
        await publisher.PublishAsync(Group, "1");
        await subscriber.WaitForMessagesAsync(Group, 3);
        Assert.Equal(["0", "once", "1"], subscriber.GetReceivedTexts(Group));
    }

    /// <summary>The app retries a publish that failed, as an outbox or a webhook does.</summary>
    [Fact]
    public async Task PublishOnce_RetryByOtherNodeAfterFailure_TakesEffectOnce()
    {
        var proxy = CreateProxy();
        var publisher = StartNode(proxy.Configuration, options => options.PublishTimeout = TimeSpan.FromMilliseconds(500));
        var other = StartNode();
        await other.SubscribeAsync(Group);
        // On a busy machine, a publish can take longer than the timeout of this node. So the other node publishes.
        await TestNode.EventuallyAsync(
            async () => await TestNode.TryAsync(() => publisher.Backplane.CountMembersAsync(Group, Token).AsTask()), "The publisher is connected.");
        await other.PublishAsync(Group, "0");
        proxy.DiscardAnswers();
        await Assert.ThrowsAsync<BackplaneException>(() => publisher.PublishOnceAsync(Group, "id", "once"));
        await TestNode.EventuallyAsync(
            async () => (await other.PublishOnceAsync(Group, "id", "once")).IsDuplicate, "Redis knows the ID.");
        await other.PublishAsync(Group, "1");
        await TestNode.EventuallyAsync(() => new(other.GetReceivedTexts(Group) is [.., "1"]), "The last message arrives.");
        Assert.Equal(["0", "once", "1"], other.GetReceivedTexts(Group));
    }

    [Fact]
    public async Task PublishOnce_RedisLostGroupAndId_TakesEffectAgain()
    {
        var node = StartNode();
        Assert.False((await node.PublishOnceAsync(Group, "id", "lost")).IsDuplicate);
        Assert.Null(await ReserveAsync(node));
        await using var connection = await Redis.ConnectAsync();
        Assert.True(await connection.GetDatabase().KeyDeleteAsync([Keys.State, Keys.Stream, Keys.Index, Keys.MessageId("id")]) == 4);
        Assert.Equal("value", await ReserveAsync(node));
        Assert.False((await node.PublishOnceAsync(Group, "id", "again")).IsDuplicate);
    }

    /// <summary>The window can be longer than the lifetime of the group.</summary>
    [Fact]
    public async Task PublishOnce_OnlyGroupExpired_IsDuplicate()
    {
        var node = StartNode();
        var (position, _) = await node.PublishOnceAsync(Group, "id", "once");
        await using var connection = await Redis.ConnectAsync();
        Assert.True(await connection.GetDatabase().KeyDeleteAsync([Keys.State, Keys.Stream, Keys.Index]) == 3);
        Assert.Null(await ReserveAsync(node));
        Assert.Equal((position, true), await node.PublishOnceAsync(Group, "id", "again"));
    }

    [Theory]
    [InlineData(WhenUnreachable.Wait)]
    [InlineData(WhenUnreachable.Fail)]
    [InlineData(WhenUnreachable.Local)]
    public async Task Reserve_RedisIsDown_ThrowsBackplaneException(WhenUnreachable whenUnreachable)
    {
        var proxy = CreateProxy();
        var node = StartNode(proxy.Configuration, options =>
        {
            options.PublishTimeout = TimeSpan.FromMilliseconds(500);
            options.WhenUnreachable = whenUnreachable;
        });
        await TestNode.EventuallyAsync(
            async () => await TestNode.TryAsync(() => ReserveAsync(node)), "The node is connected.");
        proxy.Close();
        await TestNode.EventuallyAsync(() => new(!node.Backplane.IsReachable), "The node has lost the connection.");
        var error = await Assert.ThrowsAsync<BackplaneException>(() => ReserveAsync(node));
        Assert.Equal(whenUnreachable == WhenUnreachable.Local, error.DeliverLocally);
    }

    [Fact]
    public async Task Reserve_NewId_WritesKeyThatExpires()
    {
        var node = StartNode();
        await ReserveAsync(node);
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        Assert.Equal("value", await database.StringGetAsync(Keys.Reservation("id")));
        Assert.InRange((await database.KeyTimeToLiveAsync(Keys.Reservation("id")))!.Value, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(3));
    }

    [Fact]
    public async Task PublishOnce_NewId_WritesKeyThatExpires()
    {
        var node = StartNode();
        await node.PublishOnceAsync(Group, "id", "1", TimeSpan.FromMinutes(3));
        await node.PublishAsync(Group, "2");
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        Assert.InRange((await database.KeyTimeToLiveAsync(Keys.MessageId("id")))!.Value, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(3));
        // A publish without an ID writes no such key.
        var keys = connection.GetServers()[0].Keys(pattern: "*:d:*").ToArray();
        Assert.Equal([Keys.MessageId("id")], keys);
    }

    [Fact]
    public async Task PublishOnce_BetweenOtherMessages_KeepsOrder()
    {
        var node = StartNode();
        await node.SubscribeAsync(Group);
        var publishes = Enumerable.Range(0, 200).Select(i => (i % 4) switch
        {
            0 => (Task)node.PublishOnceAsync(Group, $"{i}", $"{i}"),
            1 => node.PublishOnceAsync(Group, $"{i - 1}", "duplicate"),
            _ => node.PublishAsync(Group, $"{i}"),
        });
        await Task.WhenAll(publishes);
        await node.WaitForMessagesAsync(Group, 150);
        Assert.Equal(Enumerable.Range(0, 200).Where(i => i % 4 != 1).Select(i => $"{i}"), node.GetReceivedTexts(Group));
    }

    static async Task<string?> ReserveAsync(TestNode node) =>
        await node.Backplane.ReserveAsync(Group, "id", TimeSpan.FromMinutes(3), "value"u8.ToArray(), Token) is { } reserved
            ? Encoding.UTF8.GetString(reserved.Span)
            : null;
}
