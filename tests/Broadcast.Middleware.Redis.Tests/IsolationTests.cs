using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Who shares a Redis shares nothing else.</summary>
public sealed class IsolationTests(SharedRedis redis) : IAsyncDisposable
{
    readonly Nodes _nodes = new();
    readonly string _run = Guid.NewGuid().ToString("N");

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Prefixes_names_and_databases_hear_nothing_of_each_other()
    {
        (string Prefix, string Name, int Database)[] all =
        [
            ($"{_run}", "", 0), ($"{_run}", "a", 0), ($"{_run}:a", "", 0), ($"{_run}", "a:", 0), ($"{_run}:a", "b", 0), ($"{_run}", "a:b", 0),
            ($"{_run}a", "", 0), ($"{_run}", "{g", 0), ($"{_run}", "%003A", 0), ($"{_run}", "", 1),
        ];
        var nodes = new List<Listener>();
        foreach (var (prefix, name, database) in all)
        {
            var node = new Listener(await _nodes.CreateAsync($"{redis.Server.Configuration},defaultDatabase={database}", options => options.Prefix = prefix, name), TimeSpan.FromSeconds(20));
            node.Backplane.Start(node);
            nodes.Add(node);
            await node.SubscribeAsync("/a");
            node.Backplane.SetMember("/a", "m", default);
        }

        for (var i = 0; i < all.Length; i++)
        {
            Assert.Equal(1, (await nodes[i].PublishAsync("/a", $"{i}", new() { HistoryMessages = 10 })).Offset);
            await nodes[i].HeardAsync("/a", 1);
        }

        for (var i = 0; i < all.Length; i++)
        {
            Assert.Equal($"{i}", nodes[i].Heard("/a").Single().Text);
            Assert.Equal(0, nodes[i].Losses("/a"));
            Assert.Equal(1, await nodes[i].Backplane.CountMembersAsync("/a", Token));
        }
    }

    [Fact]
    public async Task Every_key_begins_with_the_prefix_and_ends_by_itself()
    {
        var node = new Listener(await _nodes.CreateAsync($"{redis.Server.Configuration},defaultDatabase=5", options => options.Prefix = _run), TimeSpan.FromSeconds(20));
        node.Backplane.Start(node);
        await node.SubscribeAsync("/a", new() { HistoryMessages = 10 });
        await node.PublishAsync("/a", "1", new() { HistoryMessages = 10 });
        node.Backplane.SetMember("/a", "m", default);
        node.Backplane.SetMember("/member", "m", default);
        // A group that is subscribed to only, one that is published to only, and one that has been lost.
        await node.SubscribeAsync("/quiet");
        await node.PublishAsync("/unheard", "1");
        await node.SubscribeAsync("/lost");
        await node.PublishAsync("/lost", "1");
        await using var connection = await redis.Server.ConnectAsync();
        var database = connection.GetDatabase(5);
        await database.HashSetAsync(new Keys(_run, "", 5, []).Of("/lost").State, "o", 0);
        await Listener.EventuallyAsync(() => new(node.Losses("/lost") == 1), TimeSpan.FromSeconds(20), "It is lost.");
        string[] keys = [];
        await Listener.EventuallyAsync(async () => (keys = await KeysAsync()).Length == 6 + 2 + 1 + 3 + 1, TimeSpan.FromSeconds(20), "The keys are there.");
        foreach (var key in keys)
        {
            Assert.StartsWith($"{_run}::", key, StringComparison.Ordinal);
            Assert.InRange((await database.KeyTimeToLiveAsync(key))!.Value, TimeSpan.Zero, TimeSpan.FromHours(1));
        }

        async Task<string[]> KeysAsync()
        {
            var found = new List<string>();
            await foreach (var key in connection.GetServers()[0].KeysAsync(5)) found.Add(key!);
            return [.. found];
        }
    }

    [Fact]
    public void Names_are_escaped_so_that_no_two_become_one_and_each_comes_back()
    {
        string[] names = ["", "%", "%0025", "%25", "\ud83d", "%D83D", "\udf89", "\ud83d\udf89", "\udf89\ud83d", "a\ud83d", "\ud83da", "ä", "\ufffd", "\ud83d\ud83d\udf89\udf89"];
        foreach (var name in names) Assert.Equal(name, Keys.Unescape(Roundtrip(Keys.Escape(name))));
        Assert.Equal(names.Length, names.Select(name => Roundtrip(Keys.Escape(name))).Distinct().Count());

        static string Roundtrip(string name) => System.Text.Encoding.UTF8.GetString(System.Text.Encoding.UTF8.GetBytes(name));
    }

    public async ValueTask DisposeAsync() => await _nodes.DisposeAsync();
}
