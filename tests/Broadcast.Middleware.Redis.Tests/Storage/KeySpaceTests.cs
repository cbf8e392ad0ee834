using System.Text;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests.Storage;

public sealed class KeySpaceTests(SharedRedis redis) : IAsyncDisposable
{
    const string Group = "/a";

    readonly NodeFactory _nodes = new();
    readonly string _prefix = Guid.NewGuid().ToString("N");

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Broadcasts_WithDifferentPrefixNameOrDatabase_AreIndependent()
    {
        (string Prefix, string Name, int Database)[] broadcasts =
        [
            (_prefix, "", 0), (_prefix, "a", 0), ($"{_prefix}:a", "", 0), (_prefix, "a:", 0), ($"{_prefix}:a", "b", 0),
            (_prefix, "a:b", 0), ($"{_prefix}a", "", 0), (_prefix, "{g", 0), (_prefix, "%003A", 0), (_prefix, "", 1),
        ];
        var nodes = new List<TestNode>();
        foreach (var (prefix, name, database) in broadcasts)
        {
            var node = new TestNode(_nodes.Create(
                $"{redis.Server.Configuration},defaultDatabase={database}", options => options.Prefix = prefix, name));
            nodes.Add(node);
            await node.SubscribeAsync(Group);
            node.Backplane.SetMember(Group, "m", default);
        }

        for (var i = 0; i < nodes.Count; i++)
        {
            Assert.Equal(1, (await nodes[i].PublishAsync(Group, $"{i}", new() { HistoryMessages = 10 })).Offset);
            await nodes[i].WaitForMessagesAsync(Group, 1);
        }

        for (var i = 0; i < nodes.Count; i++)
        {
            Assert.Equal($"{i}", nodes[i].GetReceived(Group).Single().Text);
            Assert.Equal(0, nodes[i].GetLossCount(Group));
            Assert.Equal(1, await nodes[i].Backplane.CountMembersAsync(Group, Token));
        }
    }

    [Fact]
    public async Task Keys_OfAllKinds_HavePrefixAndExpiration()
    {
        const int Database = 5;
        var node = new TestNode(_nodes.Create(
            $"{redis.Server.Configuration},defaultDatabase={Database}", options => options.Prefix = _prefix));
        // The startup checks also write keys.
        await node.StartupChecks.WaitAsync(TestNode.Patience, Token);
        await node.SubscribeAsync(Group, new() { HistoryMessages = 10 });
        await node.PublishAsync(Group, "1", new() { HistoryMessages = 10 });
        node.Backplane.SetMember(Group, "m", default);
        node.Backplane.SetMember("/member", "m", default);
        await node.SubscribeAsync("/subscribed-only");
        await node.PublishAsync("/published-only", "1");
        await node.SubscribeAsync("/lost");
        await node.PublishAsync("/lost", "1");
        await using var connection = await redis.Server.ConnectAsync();
        var database = connection.GetDatabase(Database);
        await database.HashSetAsync(new KeySpace(_prefix, "", Database, []).ForGroup("/lost").State, "o", 0);
        await node.WaitForLossAsync("/lost");
        string[] keys = [];
        await TestNode.EventuallyAsync(
            async () => (keys = await FindKeysAsync()).Length == 6 + 2 + 1 + 3 + 1, "Redis has all keys.");
        foreach (var key in keys)
        {
            Assert.StartsWith($"{_prefix}::", key, StringComparison.Ordinal);
            var timeToLive = await database.KeyTimeToLiveAsync(key);
            Assert.InRange(timeToLive!.Value, TimeSpan.Zero, TimeSpan.FromHours(1));
        }

        async Task<string[]> FindKeysAsync()
        {
            var found = new List<string>();
            await foreach (var key in connection.GetServers()[0].KeysAsync(Database)) found.Add(key!);
            return [.. found];
        }
    }

    [Fact]
    public void Escape_AnyName_IsUniqueAndReversible()
    {
        string[] names =
        [
            "", "%", "%0025", "%25", "\ud83d", "%D83D", "\udf89", "\ud83d\udf89", "\udf89\ud83d", "a\ud83d",
            "\ud83da", "ä", "\ufffd", "\ud83d\ud83d\udf89\udf89",
        ];
        foreach (var name in names) Assert.Equal(name, KeySpace.Unescape(RoundTrip(KeySpace.Escape(name))));
        Assert.Equal(names.Length, names.Select(name => RoundTrip(KeySpace.Escape(name))).Distinct().Count());

        static string RoundTrip(string name) => Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(name));
    }

    public async ValueTask DisposeAsync() => await _nodes.DisposeAsync();
}
