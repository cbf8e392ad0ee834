using System.Diagnostics.Metrics;
using Broadcast.Middleware;
using Broadcast.Middleware.Redis;
using Broadcast.Middleware.Redis.Configuration;
using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds a Redis backplane, which connects the nodes of a broadcast.</summary>
public static class RedisBroadcastBuilderExtensions
{
    /// <summary>
    /// Adds a Redis backplane. The backplane connects to Redis in the background. So the app can start while Redis is
    /// unreachable.
    /// </summary>
    /// <param name="builder">The result of <c>AddBroadcast</c>.</param>
    /// <param name="configuration">
    /// The connection string. See <see cref="RedisBackplaneOptions.Configuration"/>.
    /// </param>
    /// <param name="configure">
    /// Configures the options. <see cref="RedisBackplaneOptions.Prefix"/> is required.
    /// </param>
    public static IBroadcastBuilder AddRedis(
        this IBroadcastBuilder builder, string configuration, Action<RedisBackplaneOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return Add(builder, null, options => options.Configuration = configuration, configure);
    }

    /// <summary>Adds a Redis backplane with options from the app's configuration.</summary>
    /// <param name="builder">The result of <c>AddBroadcast</c>.</param>
    /// <param name="configuration">
    /// The configuration section, by convention <c>Broadcast:Redis</c>. The keys of the section are the option names.
    /// The app does not start if the section contains an unknown key. A key with an object as its value is allowed.
    /// </param>
    /// <param name="configure">
    /// Configures the options. These values take precedence over the values of the section.
    /// </param>
    public static IBroadcastBuilder AddRedis(
        this IBroadcastBuilder builder, IConfiguration configuration, Action<RedisBackplaneOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(configuration);
        var (name, services) = (builder.Name, builder.Services);
        services.AddOptions<RedisBackplaneOptions>(name).Bind(configuration);
        // Check only sections. The root of a configuration also contains keys of other parts of the app.
        if (configuration is IConfigurationSection section)
        {
            services.AddSingleton<IValidateOptions<RedisBackplaneOptions>>(
                new RedisConfigurationKeyValidator(name, section));
        }

        return Add(builder, null, null, configure);
    }

    /// <summary>Adds a Redis backplane that uses a connection of the app. The app disposes of the connection.</summary>
    /// <param name="builder">The result of <c>AddBroadcast</c>.</param>
    /// <param name="connection">The connection.</param>
    /// <param name="configure">
    /// Configures the options. <see cref="RedisBackplaneOptions.Prefix"/> is required.
    /// </param>
    public static IBroadcastBuilder AddRedis(
        this IBroadcastBuilder builder, IConnectionMultiplexer connection,
        Action<RedisBackplaneOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(connection);
        return Add(builder, _ => connection, null, configure);
    }

    /// <summary>
    /// Adds a Redis backplane that uses a connection from the container, for example from an Aspire integration. The
    /// app disposes of the connection.
    /// </summary>
    /// <example>
    /// <c>AddRedis(services => services.GetRequiredService&lt;IConnectionMultiplexer>(), …)</c>
    /// </example>
    /// <param name="builder">The result of <c>AddBroadcast</c>.</param>
    /// <param name="connect">
    /// Returns the connection. The backplane calls this delegate in the background. After an exception, the backplane
    /// calls the delegate again.
    /// </param>
    /// <param name="configure">
    /// Configures the options. <see cref="RedisBackplaneOptions.Prefix"/> is required.
    /// </param>
    public static IBroadcastBuilder AddRedis(
        this IBroadcastBuilder builder, Func<IServiceProvider, IConnectionMultiplexer> connect,
        Action<RedisBackplaneOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(connect);
        return Add(builder, connect, null, configure);
    }

    static IBroadcastBuilder Add(
        IBroadcastBuilder builder, Func<IServiceProvider, IConnectionMultiplexer>? connect,
        Action<RedisBackplaneOptions>? configureFirst, Action<RedisBackplaneOptions>? configure)
    {
        ArgumentNullException.ThrowIfNull(builder);
        var (name, services) = (builder.Name, builder.Services);
        services.AddOptions<RedisBackplaneOptions>(name).ValidateOnStart();
        if (configureFirst is not null) services.Configure(name, configureFirst);
        if (configure is not null) services.Configure(name, configure);
        if (connect is not null) services.AddSingleton(new RedisConnectionSource(name, connect));
        services.TryAddEnumerable(
            ServiceDescriptor.Singleton<IValidateOptions<RedisBackplaneOptions>, RedisBackplaneOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.AddMetrics();
        services.TryAddKeyedSingleton(name, Create);
        if (name == Options.Options.DefaultName)
            services.AddSingleton<IBackplane>(provider => provider.GetRequiredKeyedService<RedisBackplane>(name));
        else
        {
            services.AddKeyedSingleton<IBackplane>(
                name, static (provider, key) => provider.GetRequiredKeyedService<RedisBackplane>(key));
        }

        return builder;
    }

    static RedisBackplane Create(IServiceProvider services, object? key)
    {
        var name = (string)key!;
        var options = services.GetRequiredService<IOptionsMonitor<RedisBackplaneOptions>>().Get(name);
        var source = services.GetServices<RedisConnectionSource>().LastOrDefault(source => source.Name == name);
        var configuration = source is null ? ConnectionString.Parse(options.Configuration) : null;
        var loggers = new RedactingLoggerFactory(
            services.GetRequiredService<ILoggerFactory>(), new SecretFilter(configuration?.Password));
        var failures = new ConnectionFailures(loggers);
        return new(
            name,
            options,
            configuration is not null
                ? _ => ConnectAsync(configuration.Clone(), failures)
                : _ => Task.Run(() => source!.Connect(services)),
            ownsMultiplexer: source is null,
            failures,
            services.GetRequiredService<TimeProvider>(),
            services.GetRequiredService<IMeterFactory>(),
            loggers.CreateLogger(name == Options.Options.DefaultName ? "Broadcast.Redis" : $"Broadcast.{name}.Redis"));
    }

    static async Task<IConnectionMultiplexer> ConnectAsync(ConfigurationOptions configuration, ILoggerFactory loggers)
    {
        // StackExchange.Redis sends CONFIG GET only with this setting. The check of the eviction policy needs CONFIG
        // GET.
        configuration.AllowAdmin = true;
        configuration.HeartbeatInterval = TimeSpan.FromMilliseconds(500);
        // The app must also start while Redis is unreachable. StackExchange.Redis must not queue or repeat operations,
        // because the backplane queues and repeats the operations in the correct order.
        configuration.AbortOnConnectFail = false;
        configuration.BacklogPolicy = BacklogPolicy.FailFast;
        configuration.ReconnectRetryPolicy = new ReconnectDelay();
        configuration.LoggerFactory = loggers;
        return await ConnectionMultiplexer.ConnectAsync(configuration);
    }
}
