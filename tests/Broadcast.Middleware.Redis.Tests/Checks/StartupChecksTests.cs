using System.Text.RegularExpressions;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Checks;

/// <summary>A node warns about settings of Redis that would otherwise cause silent losses.</summary>
public sealed partial class StartupChecksTests : RedisTest
{
    const string LimitedUser = "user=limited,password=secret";
    const string AllPermissions = "ACL SETUSER limited on >secret ~test:* &test:* +@all";

    readonly LogRecorder _log = new();

    [Theory]
    [InlineData("noeviction", false)]
    [InlineData("volatile-ttl", true)]
    [InlineData("allkeys-lru", true)]
    public async Task EvictionPolicy_OtherThanNoEviction_IsAWarning(string policy, bool isWarned)
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
    public async Task EvictionPolicy_NotReadable_IsAWarning(string denied, int warnings)
    {
        await ExecuteAsync($"{AllPermissions} {denied}");
        await StartNodeAsync($"{Redis.Configuration},{LimitedUser}");
        Assert.Equal(warnings, _log.Warnings.Count(message =>
            message.Contains("cannot read the maxmemory-policy", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Acl_WithExactlyTheDocumentedCommands_IsSufficient()
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
        // StackExchange.Redis would use other commands for a fraction of a second.
        var other = _log.StartNode(
            Nodes, configuration, static options => options.NodeTimeout = TimeSpan.FromSeconds(14.5));
        await node.SubscribeAsync(Group, history);
        for (var i = 0; i < 200; i++) await other.PublishAsync(Group, $"{i}", history);
        await node.WaitForMessagesAsync(Group, 200);
        Assert.Equal(100, (await other.SubscribeAsync(Group, history)).History.Count);
        node.Backplane.SetMember(Group, "m", default);
        await TestNode.EventuallyAsync(
            async () => await other.Backplane.CountMembersAsync(Group, Token) == 1, "The member is listed.");
        Assert.Equal("m", Assert.Single(await other.Backplane.GetMembersAsync(Group, Token)).Name);
        node.Backplane.RemoveMember(Group, "m");
        await TestNode.EventuallyAsync(
            async () => await other.Backplane.CountMembersAsync(Group, Token) == 0, "The member is removed.");
        node.Unsubscribe(Group);
        await ((IAsyncDisposable)node.Backplane).DisposeAsync();

        // The eviction policy needs CONFIG or INFO, and the list contains neither of them.
        Assert.NotEmpty(_log.Warnings);
        Assert.All(_log.Warnings, static message => Assert.True(IsAboutEvictionPolicy(message), message));
        var denied = (RedisResult[])(await connection.GetServers()[0].ExecuteAsync("ACL", "LOG"))!;
        // StackExchange.Redis tries these commands and this channel, and works without them.
        string[] optional =
            ["command client", "command config", "command info", "command cluster", "command get", "channel __Booksleeve"];
        string[] others = [.. denied
            .Select(entry => $"{entry.ToDictionary()["reason"]} {entry.ToDictionary()["object"]}")
            .Where(text => !optional.Any(start => text.StartsWith(start, StringComparison.OrdinalIgnoreCase)))];
        Assert.Empty(others);
    }

    [Fact]
    public void CheckCommands_CoversEachCommandOfEachScript()
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

    async Task<TestNode> StartNodeAsync(string configuration)
    {
        // The checks run once. On a busy machine, Redis can need longer than the default timeout of the backplane.
        var node = _log.StartNode(Nodes, $"{configuration},syncTimeout=20000");
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
