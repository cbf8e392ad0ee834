using System.Text.RegularExpressions;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Checks;

/// <summary>Tests that a node warns about Redis settings that can cause unreported losses.</summary>
public sealed partial class StartupChecksTests : RedisTest
{
    const string LimitedUser = "user=limited,password=secret";
    const string AllPermissions = "ACL SETUSER limited on >secret ~test:* &test:* +@all";

    readonly LogRecorder _log = new();

    [Theory]
    [InlineData("noeviction", false)]
    [InlineData("volatile-ttl", true)]
    [InlineData("allkeys-lru", true)]
    public async Task EvictionPolicy_AnyPolicy_LogsWarningUnlessNoEviction(string policy, bool isWarned)
    {
        await using var connection = await Redis.ConnectAsync();
        await connection.GetServers()[0].ConfigSetAsync("maxmemory-policy", policy);
        await StartNodeAsync(Redis.Configuration);
        Assert.Equal(isWarned, _log.Warnings.Any(message =>
            message.Contains($"maxmemory-policy of Redis is '{policy}'", StringComparison.Ordinal)));
        Assert.Equal(isWarned ? 1 : 0, _log.Warnings.Count(IsAboutEvictionPolicy));
    }

    [Theory]
    [InlineData("-config", 0)]
    [InlineData("-config -info", 1)]
    public async Task EvictionPolicy_ConfigDenied_LogsWarningOnlyIfInfoIsDenied(string denied, int warnings)
    {
        await ExecuteAsync($"{AllPermissions} {denied}");
        await StartNodeAsync($"{Redis.Configuration},{LimitedUser}");
        Assert.Equal(warnings, _log.Warnings.Count(message =>
            message.Contains("cannot read the maxmemory-policy", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("expire")]
    [InlineData("hset")]
    public async Task Acl_DeniesCommandAfterStart_LogsWarning(string command)
    {
        await ExecuteAsync(AllPermissions);
        var node = await StartNodeAsync(
            $"{Redis.Configuration},{LimitedUser}", options => options.PublishTimeout = TimeSpan.FromSeconds(1));
        await TestNode.EventuallyAsync(() => new(node.NodeName is not null), "The node has a heartbeat.");
        Assert.DoesNotContain(_log.Warnings, IsRefusal);
        await ExecuteAsync($"ACL SETUSER limited -{command}");
        // The heartbeat uses EXPIRE. The script that writes the member uses HSET.
        node.Backplane.SetMember(Group, "m", default);
        await TestNode.EventuallyAsync(
            () => new(_log.Warnings.Any(IsRefusal)), "A warning names the fix.", TestNode.Patience);

        static bool IsRefusal(string message) => message.Contains("Allow the Redis user", StringComparison.Ordinal);
    }

    [Fact]
    public async Task Acl_WithOnlyDocumentedPermissions_DeniesNoRequiredCommand()
    {
        var documentation = await File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, "redis.md"), Token);
        var rule = AclRule().Match(documentation).Value
            .Replace("\\\n", " ", StringComparison.Ordinal)
            .Replace("PASSWORD", "secret", StringComparison.Ordinal)
            .Replace("shop", "test", StringComparison.Ordinal);
        Assert.NotEmpty(rule);
        await ExecuteAsync(rule);
        await using var connection = await Redis.ConnectAsync();
        await connection.GetServers()[0].ExecuteAsync("ACL", "LOG", "RESET");
        var configuration = $"{Redis.Configuration},user=test,password=secret";
        var history = new GroupOptions { HistoryMessages = 100, HistoryAge = Timeout.InfiniteTimeSpan };
        var node = await StartNodeAsync(configuration);
        // StackExchange.Redis sends different commands for a timeout with a fraction of a second. So also test a
        // timeout of 14.5 seconds.
        var other = _log.StartNode(
            Nodes, $"{configuration},connectTimeout=60000,syncTimeout=20000", static options => options.NodeTimeout = TimeSpan.FromSeconds(14.5));
        await node.SubscribeAsync(Group, history);
        for (var i = 0; i < 200; i++) await other.PublishAsync(Group, $"{i}", history);
        await node.WaitForMessagesAsync(Group, 200);
        Assert.Equal(100, (await other.SubscribeAsync(Group, history)).History.Count);
        node.Backplane.SetMember(Group, "m", default);
        await TestNode.EventuallyAsync(
            async () => await other.Backplane.CountMembersAsync(Group, Token) == 1, "The member is counted.");
        await TestNode.EventuallyAsync(
            async () => (await other.Backplane.GetMembersAsync(Group, Token)).Select(static member => member.Name).SequenceEqual(["m"]),
            "The list contains only the member.");
        node.Backplane.RemoveMember(Group, "m");
        await TestNode.EventuallyAsync(
            async () => await other.Backplane.CountMembersAsync(Group, Token) == 0, "The member is removed.");
        node.Unsubscribe(Group);
        await ((IAsyncDisposable)node.Backplane).DisposeAsync();

        // A node reads the eviction policy with CONFIG or INFO. The documented commands include neither of them, so the
        // node logs a warning.
        Assert.NotEmpty(_log.Warnings);
        Assert.All(_log.Warnings, static message => Assert.True(IsAboutEvictionPolicy(message), message));
        var denied = (RedisResult[])(await connection.GetServers()[0].ExecuteAsync("ACL", "LOG"))!;
        // StackExchange.Redis tries these commands, this key and this channel, but does not need them.
        string[] optional =
            ["command client", "command config", "command info", "command cluster", "key __Booksleeve", "channel __Booksleeve"];
        string[] others = [.. denied
            .Select(entry => $"{entry.ToDictionary()["reason"]} {entry.ToDictionary()["object"]}")
            .Where(text => !optional.Any(start => text.StartsWith(start, StringComparison.OrdinalIgnoreCase)))];
        Assert.Empty(others);
    }

    [Fact]
    public void CheckCommands_CommandsOfScripts_AreAllIncluded()
    {
        var scripts = typeof(Scripts).GetFields()
            .Where(field => field.IsLiteral && field.Name != nameof(Scripts.Superseded))
            .Select(field => (string)field.GetRawConstantValue()!)
            .ToArray();
        Assert.InRange(scripts.Length, 8, 100);
        Assert.Equal(FindCommands(string.Concat(scripts)), FindCommands(Scripts.CheckCommands));

        static IEnumerable<string> FindCommands(string script) => RedisCall().Matches(script)
            .Select(match => match.Groups[1].Value).Distinct().Order();
    }

    static bool IsAboutEvictionPolicy(string message) =>
        message.Contains("maxmemory-policy", StringComparison.Ordinal);

    async Task<TestNode> StartNodeAsync(string configuration, Action<RedisBackplaneOptions>? configure = null)
    {
        // The checks run once. On a busy machine, Redis can need longer than the default timeout of the backplane.
        var node = _log.StartNode(Nodes, $"{configuration},connectTimeout=60000,syncTimeout=20000", configure);
        await node.StartupChecks.WaitAsync(TestNode.Patience, Token);
        return node;
    }

    async Task ExecuteAsync(string command)
    {
        await using var connection = await Redis.ConnectAsync();
        var words = command.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        await connection.GetServers()[0].ExecuteAsync(words[0], [.. words[1..]]);
    }

    [GeneratedRegex(@"^ACL SETUSER (?:.*\\\n)*.*$", RegexOptions.Multiline)]
    private static partial Regex AclRule();

    [GeneratedRegex(@"(?:redis\.call|run)\('(\w+)'")]
    private static partial Regex RedisCall();
}
