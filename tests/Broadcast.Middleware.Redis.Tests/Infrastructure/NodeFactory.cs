using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>Creates backplanes through the public API. Each backplane has its own container.</summary>
sealed class NodeFactory : IAsyncDisposable
{
    readonly List<ServiceProvider> _containers = [];

    /// <param name="configuration">The connection string.</param>
    /// <param name="configure">Configures the options.</param>
    /// <param name="name">The name of the broadcast.</param>
    /// <param name="usesShortIntervals">True to use short intervals, which make tests faster.</param>
    public IBackplane Create(
        string configuration, Action<RedisBackplaneOptions>? configure = null, string name = "",
        bool usesShortIntervals = true) =>
        Create(
            builder => builder.AddRedis(
                configuration, options => ConfigureForTests(options, configure, usesShortIntervals)),
            name);

    public IBackplane Create(
        IConnectionMultiplexer connection, Action<RedisBackplaneOptions>? configure = null, string name = "") =>
        Create(
            builder => builder.AddRedis(
                connection, options => ConfigureForTests(options, configure, usesShortIntervals: true)),
            name);

    public IBackplane Create(Action<IBroadcastBuilder> addRedis, string name = "")
    {
        var services = new ServiceCollection();
        services.AddLogging(logging => logging.SetMinimumLevel(LogLevel.Warning));
        addRedis(services.AddBroadcast(name));
        var container = services.BuildServiceProvider();
        lock (_containers) _containers.Add(container);
        return name.Length == 0
            ? container.GetRequiredService<IBackplane>()
            : container.GetRequiredKeyedService<IBackplane>(name);
    }

    /// <summary>Returns the meter factory of a backplane.</summary>
    public IMeterFactory GetMeterFactory(IBackplane backplane)
    {
        lock (_containers)
        {
            return _containers
                .Single(container => ReferenceEquals(container.GetRequiredService<IBackplane>(), backplane))
                .GetRequiredService<IMeterFactory>();
        }
    }

    public async ValueTask DisposeAsync()
    {
        ServiceProvider[] containers;
        lock (_containers) containers = [.. _containers];
        await Task.WhenAll(containers.Select(container => container.DisposeAsync().AsTask()));
    }

    static void ConfigureForTests(
        RedisBackplaneOptions options, Action<RedisBackplaneOptions>? configure, bool usesShortIntervals)
    {
        if (usesShortIntervals)
        {
            options.CheckInterval = TimeSpan.FromMilliseconds(200);
            options.NodeTimeout = TimeSpan.FromSeconds(3);
        }

        // On a busy machine, the first connect can take longer than the default timeout of 5 seconds.
        options.PublishTimeout = TimeSpan.FromSeconds(20);
        options.Prefix = "test";
        configure?.Invoke(options);
    }
}
