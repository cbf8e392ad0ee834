using System.Diagnostics;
using Broadcast.Middleware.Redis.Hosting;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Broadcast.Middleware.Redis.Tests.Hosting;

public sealed class RedisHealthCheckTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task HealthCheck_RedisStartsThenIsSuspended_ReportsStateOfRedis()
    {
        await using var server = RedisServer.Create();
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddBroadcast().AddRedis(server.Configuration, options => options.Prefix = "shop");
        var timeout = TimeSpan.FromSeconds(3);
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

    /// <summary>Twemproxy forwards neither subscriptions nor streams, so the backplane cannot use Twemproxy.</summary>
    [Fact]
    public async Task HealthCheck_BehindTwemproxy_IsUnhealthy()
    {
        const string Program = "/usr/sbin/nutcracker";
        Assert.SkipUnless(File.Exists(Program), $"{Program} is missing. Install nutcracker.");
        await using var server = await RedisServer.StartNewAsync();
        var port = TestPorts.Allocate();
        var directory = Directory.CreateTempSubdirectory("broadcast-twemproxy-").FullName;
        var file = Path.Combine(directory, "proxy.yml");
        var settings = $$"""
            pool:
              listen: 127.0.0.1:{{port}}
              redis: true
              servers:
               - 127.0.0.1:{{server.Port}}:1

            """;
        await File.WriteAllTextAsync(file, settings, Token);
        using var proxy = Process.Start(
            Program, ["-c", file, "-s", $"{TestPorts.Allocate()}", "-o", Path.Combine(directory, "log")]);
        try
        {
            var result = await CheckAsync($"127.0.0.1:{port},proxy=Twemproxy");
            Assert.Equal(HealthStatus.Unhealthy, result.Status);
            Assert.Contains("pub/sub API is not available via Twemproxy", result.Description, StringComparison.Ordinal);
        }
        finally
        {
            proxy.Kill();
            await proxy.WaitForExitAsync(Token);
            Directory.Delete(directory, recursive: true);
        }
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

    /// <summary>Starts a node and runs its health check after the node has connected.</summary>
    static async Task<HealthReportEntry> CheckAsync(string configuration)
    {
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddBroadcast().AddRedis($"{configuration},syncTimeout=20000", options => options.Prefix = "test");
        services.AddHealthChecks().AddBroadcastRedis(timeout: TimeSpan.FromSeconds(20));
        await using var provider = services.BuildServiceProvider();
        var node = new TestNode(provider.GetRequiredService<IBackplane>());
        await node.StartupChecks.WaitAsync(TestNode.Patience, Token);
        var report = await provider.GetRequiredService<HealthCheckService>().CheckHealthAsync(Token);
        return report.Entries["broadcast_redis"];
    }
}
