using Broadcast.Middleware.Redis.Hosting;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Broadcast.Middleware.Redis.Tests.Hosting;

public sealed class RedisHealthCheckTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task HealthCheck_FollowsStateOfRedis()
    {
        await using var server = RedisServer.Create();
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddBroadcast().AddRedis(server.Configuration, options => options.Prefix = "shop");
        var timeout = TimeSpan.FromMilliseconds(500);
        services.AddHealthChecks()
            .AddBroadcastRedis(timeout: timeout)
            .AddBroadcastRedis(name: "lenient", failureStatus: HealthStatus.Degraded, timeout: timeout);
        await using var provider = services.BuildServiceProvider();
        var backplane = provider.GetRequiredService<IBackplane>();
        _ = new TestNode(backplane);
        var health = provider.GetRequiredService<HealthCheckService>();
        var withoutRedis = await health.CheckHealthAsync(Token);
        Assert.Equal(
            (HealthStatus.Unhealthy, HealthStatus.Degraded),
            (withoutRedis.Entries["broadcast_redis"].Status, withoutRedis.Entries["lenient"].Status));
        await server.StartAsync();
        await TestNode.EventuallyAsync(
            async () => (await health.CheckHealthAsync(Token)).Status == HealthStatus.Healthy, "Redis is healthy.");
        var checkWithoutTimeout = new RedisHealthCheck((RedisBackplane)backplane);
        var context = new HealthCheckContext
        {
            Registration = new("no timeout", checkWithoutTimeout, null, null, Timeout.InfiniteTimeSpan),
        };
        Assert.Equal(HealthStatus.Healthy, (await checkWithoutTimeout.CheckHealthAsync(context, Token)).Status);
        await server.SuspendAsync();
        Assert.Equal(HealthStatus.Unhealthy, (await health.CheckHealthAsync(Token)).Status);
        await server.ResumeAsync();
    }

    [Fact]
    public async Task HealthCheck_WithoutBackplane_NamesTheMissingCall()
    {
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddBroadcast("news");
        services.AddHealthChecks().AddBroadcastRedis("news");
        await using var provider = services.BuildServiceProvider();
        var health = provider.GetRequiredService<HealthCheckService>();
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => health.CheckHealthAsync(Token));
        Assert.Contains("AddBroadcast(\"news\").AddRedis", error.Message, StringComparison.Ordinal);
    }
}
