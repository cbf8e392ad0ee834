using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Storage;

/// <summary>Tests a Redis server that has reached its memory limit. The eviction policy is noeviction.</summary>
public sealed class MemoryLimitTests : RedisTest
{
    [Fact]
    public async Task WriteMembers_RedisOutOfMemory_IsRefusedAndKeepsMembers()
    {
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        await WriteAsync("old");
        await connection.GetServers()[0].ConfigSetAsync("maxmemory", "1");
        var error = await Assert.ThrowsAsync<RedisServerException>(() => WriteAsync("new"));
        Assert.Contains("OOM", error.Message, StringComparison.Ordinal);
        Assert.Equal("old", await database.HashGetAsync(Keys.Members("node"), "m"));

        // These arguments request a rewrite, which first deletes the previous members.
        Task WriteAsync(string value) => database.ScriptEvaluateAsync(
            Scripts.WriteMembers, [Keys.Members("node"), Keys.Nodes], ["node", 60_000, 1, -1, "", 1, "m", value]);
    }

    [Fact]
    public async Task Publish_RedisOutOfMemory_IsRefusedAndCreatesNoStream()
    {
        var node = StartNode(configure: options => options.PublishTimeout = TimeSpan.FromSeconds(15));
        await node.StartupChecks.WaitAsync(TestNode.Patience, Token);
        await StartNode().PublishAsync("/other", "");
        await using var connection = await Redis.ConnectAsync();
        await connection.GetServers()[0].ConfigSetAsync("maxmemory", "1");
        var error = await Assert.ThrowsAsync<BackplaneException>(() => node.PublishAsync(Group, "1"));
        Assert.Contains("OOM", error.Message, StringComparison.Ordinal);
        Assert.False(await connection.GetDatabase().KeyExistsAsync(Keys.Stream));
    }

    [Fact]
    public async Task CommandCheck_RedisOutOfMemory_ReportsFix()
    {
        var node = StartNode();
        await node.StartupChecks.WaitAsync(TestNode.Patience, Token);
        await using var connection = await Redis.ConnectAsync();
        await connection.GetServers()[0].ConfigSetAsync("maxmemory", "1");
        var error = await Assert.ThrowsAsync<BackplaneException>(
            () => ((RedisBackplane)node.Backplane).CheckAsync(TestNode.Patience, Token));
        Assert.Contains("OOM", error.Message, StringComparison.Ordinal);
        Assert.Contains("Give Redis more memory", error.Message, StringComparison.Ordinal);
    }
}
