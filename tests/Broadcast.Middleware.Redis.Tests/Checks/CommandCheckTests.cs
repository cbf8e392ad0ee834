using System.Reflection;
using Broadcast.Middleware.Redis.Hosting;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Checks;

/// <summary>
/// Tests that a node reports missing permissions of its Redis user. Each test has its own ACL user and prefix on the
/// shared server.
/// </summary>
public sealed class CommandCheckTests(SharedRedis redis) : IAsyncLifetime
{
    readonly string _name = $"check-{Guid.NewGuid():N}";
    readonly LogRecorder _log = new();
    readonly NodeFactory _nodes = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    // For a value that expires, StackExchange.Redis sends SET or SETEX. Deny both commands.
    [InlineData("-set -setex", "set")]
    [InlineData("-expire", "expire")]
    [InlineData("-smembers", "smembers")]
    [InlineData("-eval -evalsha", "eval")]
    [InlineData("-subscribe", "subscribe")]
    [InlineData("resetchannels", "channels that begin with the prefix")]
    [InlineData("-xadd", "XADD")]
    [InlineData("-hgetall", "HGETALL")]
    public async Task Acl_PermissionIsMissing_WarningAndHealthCheckNamePermission(string denied, string expected)
    {
        await ExecuteAsync(["SETUSER", _name, "on", ">secret", $"~{_name}:*", $"&{_name}:*", "+@all", .. denied.Split(' ')]);
        var node = _log.StartNode(
            _nodes, $"{redis.Server.Configuration},user={_name},password=secret,syncTimeout=20000",
            options => options.Prefix = _name);
        await node.StartupChecks.WaitAsync(TestNode.Patience, Token);
        Assert.Contains(_log.Warnings, message => message.Contains(expected, StringComparison.OrdinalIgnoreCase)
            && message.Contains("Allow the Redis user", StringComparison.Ordinal));
        var check = new RedisHealthCheck((RedisBackplane)node.Backplane);
        var context = new HealthCheckContext
        {
            Registration = new("redis", check, HealthStatus.Unhealthy, null, TimeSpan.FromSeconds(20)),
        };
        var result = await check.CheckHealthAsync(context, Token);
        Assert.Equal(HealthStatus.Unhealthy, result.Status);
        Assert.Contains(expected, result.Description, StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>StackExchange.Redis can connect the subscription after the commands, so the first checks can fail.</summary>
    [Fact]
    public async Task Acl_PermissionIsMissingAndSubscriptionConnectsLate_LogsWarning()
    {
        await ExecuteAsync("SETUSER", _name, "on", ">secret", $"~{_name}:*", $"&{_name}:*", "+@all", "-expire");
        await using var connection = await RedisServer.ConnectAsync($"{redis.Server.Configuration},user={_name},password=secret");
        var late = LateSubscriber.Wrap(connection);
        var node = _log.StartNode(_nodes, builder => builder.AddRedis(late, options => options.Prefix = _name));
        await node.StartupChecks.WaitAsync(TestNode.Patience, Token);
        Assert.Contains(_log.Warnings, static message => message.Contains("expire", StringComparison.OrdinalIgnoreCase));
    }

    public ValueTask InitializeAsync() => default;

    public async ValueTask DisposeAsync()
    {
        await _nodes.DisposeAsync();
        await ExecuteAsync("DELUSER", _name);
    }

    async Task ExecuteAsync(params object[] words)
    {
        await using var connection = await redis.Server.ConnectAsync();
        await connection.GetServers()[0].ExecuteAsync("ACL", words);
    }

    /// <summary>A connection whose first calls of <see cref="IConnectionMultiplexer.GetSubscriber"/> fail.</summary>
    public class LateSubscriber : DispatchProxy
    {
        IConnectionMultiplexer? _inner;
        int _failures = 5;

        public static IConnectionMultiplexer Wrap(IConnectionMultiplexer inner)
        {
            var proxy = Create<IConnectionMultiplexer, LateSubscriber>();
            ((LateSubscriber)(object)proxy)._inner = inner;
            return proxy;
        }

        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args)
        {
            if (targetMethod!.Name == nameof(IConnectionMultiplexer.GetSubscriber) && Interlocked.Decrement(ref _failures) >= 0)
                throw new RedisConnectionException(ConnectionFailureType.UnableToConnect, CommandFlags.None, "No connection is available.", null, CommandStatus.Unknown);
            return targetMethod.Invoke(_inner, BindingFlags.DoNotWrapExceptions, null, args, null);
        }
    }
}
