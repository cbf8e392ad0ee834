using System.Diagnostics.Metrics;
using System.Text.RegularExpressions;
using Broadcast.Middleware.Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>How an app gets it.</summary>
public sealed partial class ServicesTests(SharedRedis redis)
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("", "localhost", "Prefix is empty")]
    [InlineData("a b", "localhost", "Prefix is 'a b'")]
    [InlineData("{a}", "localhost", "Prefix is '{a}'")]
    [InlineData("a\n", "localhost", "Prefix is 'a\n'")]
    [InlineData("a", "", "Configuration names no server")]
    [InlineData("a", "localhost,nonsense=1", "Configuration cannot be read")]
    public async Task What_is_wrong_is_said_when_the_app_starts(string prefix, string configuration, string problem)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseTestServer();
        builder.Logging.ClearProviders();
        builder.Services.AddBroadcast().AddRedis(configuration, options => options.Prefix = prefix);
        await using var app = builder.Build();
        var error = await Assert.ThrowsAsync<OptionsValidationException>(() => app.StartAsync(Token));
        Assert.Contains(problem, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void All_problems_are_named_at_once_with_the_broadcasts_name()
    {
        var services = new ServiceCollection();
        services.AddBroadcast("news").AddRedis("localhost", options =>
        {
            (options.PublishTimeout, options.MaxOutboxBytes, options.RepairMessages, options.RepairBytes) = (default, 0, 0, 0);
            (options.RepairAge, options.CheckInterval, options.NodeTimeout, options.WhenUnreachable) = (default, default, TimeSpan.FromSeconds(16), (WhenUnreachable)7);
        });
        using var provider = services.BuildServiceProvider();
        var error = Assert.Throws<OptionsValidationException>(() => provider.GetRequiredService<IOptionsMonitor<RedisBackplaneOptions>>().Get("news"));
        Assert.Equal(9, error.Failures.Count());
        foreach (var option in typeof(RedisBackplaneOptions).GetProperties().Where(option => option.Name != nameof(RedisBackplaneOptions.Configuration)))
            Assert.Contains(error.Failures, failure => failure.StartsWith($"RedisBackplaneOptions of broadcast 'news': {option.Name} is ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Options_come_from_configuration_and_each_broadcast_has_its_own()
    {
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Broadcast:Redis:Configuration"] = redis.Server.Configuration,
            ["Broadcast:Redis:Prefix"] = "shop",
            ["Broadcast:Redis:PublishTimeout"] = "00:00:03",
            ["Broadcast:Redis:WhenUnreachable"] = "Fail",
        }).Build();
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddBroadcast().AddRedis(configuration.GetSection("Broadcast:Redis"), options => options.RepairMessages = 7);
        services.AddBroadcast("other").AddRedis(redis.Server.Configuration, options => options.Prefix = "other");
        await using var provider = services.BuildServiceProvider();
        var options = provider.GetRequiredService<IOptionsMonitor<RedisBackplaneOptions>>();
        Assert.Equal(
            ("shop", TimeSpan.FromSeconds(3), WhenUnreachable.Fail, 7),
            (options.Get("").Prefix, options.Get("").PublishTimeout, options.Get("").WhenUnreachable, options.Get("").RepairMessages));
        Assert.Equal(("other", TimeSpan.FromSeconds(5), 10_000), (options.Get("other").Prefix, options.Get("other").PublishTimeout, options.Get("other").RepairMessages));
        Assert.NotSame(provider.GetRequiredService<IBackplane>(), provider.GetRequiredKeyedService<IBackplane>("other"));
        Assert.Same(provider.GetRequiredService<IBackplane>(), provider.GetRequiredService<IBackplane>());
    }

    [Fact]
    public async Task A_connection_that_the_app_has_is_looked_for_until_it_is_there_and_left_to_the_app()
    {
        await using var connection = await ConnectionMultiplexer.ConnectAsync(redis.Server.Configuration);
        var tries = 0;
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddSingleton<IConnectionMultiplexer>(_ => ++tries < 3 ? throw new InvalidOperationException("Not yet.") : connection);
        services.AddBroadcast().AddRedis(found => found.GetRequiredService<IConnectionMultiplexer>(), options => options.Prefix = $"{Guid.NewGuid():N}");
        var provider = services.BuildServiceProvider();
        var node = new Listener(provider.GetRequiredService<IBackplane>(), TimeSpan.FromSeconds(20));
        node.Backplane.Start(node);
        await node.SubscribeAsync("/a");
        Assert.Equal(3, tries);
        await ((IAsyncDisposable)node.Backplane).DisposeAsync();
        Assert.True(connection.IsConnected);
    }

    [Fact]
    public void A_container_may_be_disposed_of_without_waiting()
    {
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddBroadcast().AddRedis(redis.Server.Configuration, options => options.Prefix = "shop");
        var provider = services.BuildServiceProvider();
        var backplane = provider.GetRequiredService<IBackplane>();
        backplane.Start(new Listener(backplane, default));
        provider.Dispose();
        provider.Dispose();
    }

    [Fact]
    public async Task The_health_check_says_whether_Redis_answers()
    {
        var server = RedisServer.Absent();
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddBroadcast().AddRedis(server.Configuration, options => options.Prefix = "shop");
        services.AddHealthChecks().AddBroadcastRedis(timeout: TimeSpan.FromMilliseconds(500)).AddBroadcastRedis(name: "lenient", failureStatus: HealthStatus.Degraded, timeout: TimeSpan.FromMilliseconds(500));
        await using var provider = services.BuildServiceProvider();
        var backplane = provider.GetRequiredService<IBackplane>();
        backplane.Start(new Listener(backplane, default));
        var health = provider.GetRequiredService<HealthCheckService>();
        var absent = await health.CheckHealthAsync(Token);
        Assert.Equal((HealthStatus.Unhealthy, HealthStatus.Degraded), (absent.Entries["broadcast_redis"].Status, absent.Entries["lenient"].Status));
        await server.StartAgainAsync();
        await Listener.EventuallyAsync(async () => (await health.CheckHealthAsync(Token)).Status == HealthStatus.Healthy, TimeSpan.FromSeconds(20), "It is healthy.");
        // One that has no limit.
        var check = new RedisHealthCheck((RedisBackplane)backplane);
        var context = new HealthCheckContext { Registration = new("unlimited", check, null, null, Timeout.InfiniteTimeSpan) };
        Assert.Equal(HealthStatus.Healthy, (await check.CheckHealthAsync(context, Token)).Status);
        await server.StopAsync();
        Assert.Equal(HealthStatus.Unhealthy, (await health.CheckHealthAsync(Token)).Status);
        await server.GoOnAsync();
        await server.DisposeAsync();
    }

    [Fact]
    public async Task Metrics_count_what_happens_and_the_documentation_lists_them()
    {
        await using var nodes = new Nodes();
        var backplane = await nodes.CreateAsync(redis.Server.Configuration, options => options.Prefix = $"{Guid.NewGuid():N}");
        var meters = nodes.MetersOf(backplane);
        var instruments = new List<string>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, _) =>
        {
            if (ReferenceEquals(instrument.Meter.Scope, meters) && instrument.Meter.Name == RedisMetrics.MeterName) instruments.Add(instrument.Name);
        };
        listener.Start();
        var documented = File.ReadLines(Path.Combine(AppContext.BaseDirectory, "redis.md")).Select(line => TableRow().Match(line)).Where(match => match.Success);
        Assert.Equal(instruments.Order(), documented.Select(match => match.Groups[1].Value).Order());

        using var published = new MetricCollector<long>(meters, RedisMetrics.MeterName, "broadcast.redis.published");
        using var received = new MetricCollector<long>(meters, RedisMetrics.MeterName, "broadcast.redis.received");
        using var outbox = new MetricCollector<long>(meters, RedisMetrics.MeterName, "broadcast.redis.outbox.size");
        using var took = new MetricCollector<double>(meters, RedisMetrics.MeterName, "broadcast.redis.publish.duration");
        var node = new Listener(backplane, TimeSpan.FromSeconds(20));
        backplane.Start(node);
        await node.SubscribeAsync("/a");
        await Task.WhenAll(Enumerable.Range(0, 100).Select(i => node.PublishAsync("/a", $"{i}").AsTask()));
        await node.HeardAsync("/a", 100);
        Assert.Equal(100, published.GetMeasurementSnapshot().EvaluateAsCounter());
        Assert.Equal(100, received.GetMeasurementSnapshot().EvaluateAsCounter());
        Assert.Equal(100, took.GetMeasurementSnapshot().Count);
        outbox.RecordObservableInstruments();
        Assert.Equal(0, outbox.LastMeasurement!.Value);
        Assert.Equal("", outbox.LastMeasurement.Tags.GetValueOrDefault("broadcast.name") ?? "");
    }

    [GeneratedRegex(@"^\| `(broadcast\.redis\.[a-z_.]+)` \|")]
    private static partial Regex TableRow();
}
