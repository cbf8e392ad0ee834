using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Hosting;

public sealed class RedisBroadcastBuilderExtensionsTests(SharedRedis redis)
{
    [Fact]
    public async Task AddRedis_WithConfigurationSection_ReadsOptionsOfEachBroadcast()
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
        services.AddBroadcast().AddRedis(
            configuration.GetSection("Broadcast:Redis"), options => options.RepairMessages = 7);
        services.AddBroadcast("other").AddRedis(redis.Server.Configuration, options => options.Prefix = "other");
        await using var provider = services.BuildServiceProvider();
        var monitor = provider.GetRequiredService<IOptionsMonitor<RedisBackplaneOptions>>();
        var (defaults, other) = (monitor.Get(""), monitor.Get("other"));
        Assert.Equal(
            ("shop", TimeSpan.FromSeconds(3), WhenUnreachable.Fail, 7),
            (defaults.Prefix, defaults.PublishTimeout, defaults.WhenUnreachable, defaults.RepairMessages));
        Assert.Equal(
            ("other", TimeSpan.FromSeconds(5), 10_000), (other.Prefix, other.PublishTimeout, other.RepairMessages));
        var backplane = provider.GetRequiredService<IBackplane>();
        Assert.Same(backplane, provider.GetRequiredService<IBackplane>());
        Assert.NotSame(backplane, provider.GetRequiredKeyedService<IBackplane>("other"));
    }

    [Fact]
    public async Task AddRedis_ConnectionDelegateThrowsTwice_RetriesAndDisposeKeepsConnectionOpen()
    {
        await using var connection = await RedisServer.ConnectAsync(redis.Server.Configuration);
        var attempts = 0;
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddSingleton<IConnectionMultiplexer>(
            _ => ++attempts < 3 ? throw new InvalidOperationException("Not yet.") : connection);
        services.AddBroadcast().AddRedis(
            provider => provider.GetRequiredService<IConnectionMultiplexer>(),
            options => (options.Prefix, options.PublishTimeout) = ($"{Guid.NewGuid():N}", TimeSpan.FromSeconds(20)));
        var provider = services.BuildServiceProvider();
        var node = new TestNode(provider.GetRequiredService<IBackplane>());
        await node.SubscribeAsync("/a");
        Assert.Equal(3, attempts);
        await ((IAsyncDisposable)node.Backplane).DisposeAsync();
        Assert.True(connection.IsConnected);
    }

    [Fact]
    public void Container_DisposedSynchronouslyTwice_DoesNotThrow()
    {
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddBroadcast().AddRedis(redis.Server.Configuration, options => options.Prefix = "shop");
        var provider = services.BuildServiceProvider();
        _ = new TestNode(provider.GetRequiredService<IBackplane>());
        provider.Dispose();
        provider.Dispose();
    }
}
