using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Nodes as an app gets them from its container, each with a container of its own.</summary>
sealed class Nodes : IAsyncDisposable
{
    readonly List<ServiceProvider> _containers = [];

    public Task<IBackplane> CreateAsync(string configuration, Action<RedisBackplaneOptions> configure, string name = "", bool quick = true) =>
        CreateAsync(builder => builder.AddRedis(configuration, options => Quick(options, configure, quick)), name);

    public Task<IBackplane> CreateAsync(IConnectionMultiplexer connection, Action<RedisBackplaneOptions> configure, string name = "") =>
        CreateAsync(builder => builder.AddRedis(connection, options => Quick(options, configure, quick: true)), name);

    public Task<IBackplane> CreateAsync(Action<IBroadcastBuilder> add, string name = "")
    {
        var services = new ServiceCollection();
        services.AddLogging(logging => logging.SetMinimumLevel(LogLevel.Warning));
        add(services.AddBroadcast(name));
        var container = services.BuildServiceProvider();
        lock (_containers) _containers.Add(container);
        return Task.FromResult(name.Length == 0 ? container.GetRequiredService<IBackplane>() : container.GetRequiredKeyedService<IBackplane>(name));
    }

    /// <summary>Where a node's metrics come from.</summary>
    public IMeterFactory MetersOf(IBackplane node)
    {
        lock (_containers) return _containers.Single(container => ReferenceEquals(container.GetRequiredService<IBackplane>(), node)).GetRequiredService<IMeterFactory>();
    }

    public async ValueTask DisposeAsync()
    {
        ServiceProvider[] containers;
        lock (_containers) containers = [.. _containers];
        await Task.WhenAll(containers.Select(container => container.DisposeAsync().AsTask()));
    }

    static void Quick(RedisBackplaneOptions options, Action<RedisBackplaneOptions> configure, bool quick)
    {
        if (quick) (options.CheckInterval, options.NodeTimeout) = (TimeSpan.FromMilliseconds(200), TimeSpan.FromSeconds(3));
        options.Prefix = "test";
        configure(options);
    }
}
