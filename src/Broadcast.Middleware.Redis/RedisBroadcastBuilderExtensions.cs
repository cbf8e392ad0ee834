using System.Diagnostics.Metrics;
using Broadcast.Middleware;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Makes the broadcasts of several nodes one, over Redis.</summary>
public static class RedisBroadcastBuilderExtensions
{
    /// <summary>Connects to Redis in the background; the app starts without it too.</summary>
    /// <param name="builder">What <c>AddBroadcast</c> has returned.</param>
    /// <param name="configuration">Where Redis is: see <see cref="RedisBackplaneOptions.Configuration"/>.</param>
    /// <param name="configure">Changes the options; <see cref="RedisBackplaneOptions.Prefix"/> has to be set.</param>
    public static IBroadcastBuilder AddRedis(this IBroadcastBuilder builder, string configuration, Action<RedisBackplaneOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return Add(builder, null, options => options.Configuration = configuration, configure);
    }

    /// <summary>Takes the options from configuration.</summary>
    /// <param name="builder">What <c>AddBroadcast</c> has returned.</param>
    /// <param name="configuration">The section whose keys are the names of the options, by convention <c>Broadcast:Redis</c>.</param>
    /// <param name="configure">Changes the options further.</param>
    public static IBroadcastBuilder AddRedis(this IBroadcastBuilder builder, IConfiguration configuration, Action<RedisBackplaneOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(configuration);
        builder.Services.AddOptions<RedisBackplaneOptions>(builder.Name).Bind(configuration);
        return Add(builder, null, null, configure);
    }

    /// <summary>Uses a connection that the app has, and that it disposes of itself.</summary>
    /// <param name="builder">What <c>AddBroadcast</c> has returned.</param>
    /// <param name="connection">The connection.</param>
    /// <param name="configure">Changes the options; <see cref="RedisBackplaneOptions.Prefix"/> has to be set.</param>
    public static IBroadcastBuilder AddRedis(this IBroadcastBuilder builder, IConnectionMultiplexer connection, Action<RedisBackplaneOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(connection);
        return Add(builder, _ => connection, null, configure);
    }

    /// <summary>
    /// Uses a connection that the app has, and that it disposes of itself: <c>AddRedis(services => services.GetRequiredService&lt;IConnectionMultiplexer>(), …)</c>,
    /// where something else, such as an Aspire integration, has registered it.
    /// </summary>
    /// <param name="builder">What <c>AddBroadcast</c> has returned.</param>
    /// <param name="connect">Finds the connection. Called in the background, again and again where it fails.</param>
    /// <param name="configure">Changes the options; <see cref="RedisBackplaneOptions.Prefix"/> has to be set.</param>
    public static IBroadcastBuilder AddRedis(
        this IBroadcastBuilder builder, Func<IServiceProvider, IConnectionMultiplexer> connect, Action<RedisBackplaneOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(connect);
        return Add(builder, connect, null, configure);
    }

    static IBroadcastBuilder Add(
        IBroadcastBuilder builder, Func<IServiceProvider, IConnectionMultiplexer>? connect, Action<RedisBackplaneOptions>? first, Action<RedisBackplaneOptions>? configure)
    {
        ArgumentNullException.ThrowIfNull(builder);
        var (name, services) = (builder.Name, builder.Services);
        services.AddOptions<RedisBackplaneOptions>(name).ValidateOnStart();
        if (first is not null) services.Configure(name, first);
        if (configure is not null) services.Configure(name, configure);
        if (connect is not null) services.AddSingleton(new RedisConnectionSource(name, connect));
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<RedisBackplaneOptions>, RedisBackplaneOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.AddMetrics();
        services.TryAddKeyedSingleton(name, Create);
        if (name == Options.Options.DefaultName) services.AddSingleton<IBackplane>(provider => provider.GetRequiredKeyedService<RedisBackplane>(name));
        else services.AddKeyedSingleton<IBackplane>(name, static (provider, key) => provider.GetRequiredKeyedService<RedisBackplane>(key));
        return builder;
    }

    static RedisBackplane Create(IServiceProvider services, object? key)
    {
        var name = (string)key!;
        var options = services.GetRequiredService<IOptionsMonitor<RedisBackplaneOptions>>().Get(name);
        var loggers = services.GetRequiredService<ILoggerFactory>();
        var source = services.GetServices<RedisConnectionSource>().LastOrDefault(source => source.Name == name);
        return new(
            name,
            options,
            source is null ? _ => ConnectAsync(options, loggers) : _ => Task.Run(() => source.Connect(services)),
            ownsConnection: source is null,
            services.GetRequiredService<TimeProvider>(),
            services.GetRequiredService<IMeterFactory>(),
            loggers.CreateLogger(name == Options.Options.DefaultName ? "Broadcast.Redis" : $"Broadcast.{name}.Redis"));
    }

    static async Task<IConnectionMultiplexer> ConnectAsync(RedisBackplaneOptions options, ILoggerFactory loggers)
    {
        // A connection through which nothing comes any more, and of which nobody says that it is broken, is given up after four timeouts, before this node
        // counts as dead. Whatever is asked bears being asked again. What the app has written comes later, and counts.
        var configuration = ConfigurationOptions.Parse($"syncTimeout=1500,keepAlive=4,{options.Configuration}");
        configuration.HeartbeatInterval = TimeSpan.FromMilliseconds(500);
        // The app starts without Redis, and what has to wait for it waits here, in an order of its own.
        configuration.AbortOnConnectFail = false;
        configuration.BacklogPolicy = BacklogPolicy.FailFast;
        configuration.ReconnectRetryPolicy = new ReconnectPause();
        configuration.LoggerFactory ??= loggers;
        return await ConnectionMultiplexer.ConnectAsync(configuration);
    }
}
