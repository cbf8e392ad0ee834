using System.Diagnostics.Metrics;
using Broadcast.Middleware;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds broadcasts to an app.</summary>
public static class BroadcastServiceCollectionExtensions
{
    /// <summary>
    /// Adds the default broadcast: <see cref="IBroadcaster"/> and <see cref="IConnectionRegistry"/> can be injected, and
    /// <c>MapBroadcast(pattern)</c> gives it URLs.
    /// </summary>
    /// <param name="services">The app's services.</param>
    /// <param name="configure">Changes the options; several calls add up.</param>
    public static IBroadcastBuilder AddBroadcast(this IServiceCollection services, Action<BroadcastOptions>? configure = null) =>
        services.AddBroadcast(Options.Options.DefaultName, configure);

    /// <summary>Adds the default broadcast, with its options from configuration.</summary>
    /// <param name="services">The app's services.</param>
    /// <param name="configuration">The section whose keys are the names of the options, by convention <c>Broadcast</c>.</param>
    public static IBroadcastBuilder AddBroadcast(this IServiceCollection services, IConfiguration configuration) =>
        services.AddBroadcast(Options.Options.DefaultName, configuration);

    /// <summary>
    /// Adds a further broadcast that shares nothing with the others: it has options, filters and connections of its own, its services are
    /// keyed by its name, and <c>MapBroadcast(pattern, name)</c> gives it URLs.
    /// </summary>
    /// <param name="services">The app's services.</param>
    /// <param name="name">The broadcast's name and the key of its services; empty for the default one.</param>
    /// <param name="configure">Changes the options; several calls add up.</param>
    public static IBroadcastBuilder AddBroadcast(this IServiceCollection services, string name, Action<BroadcastOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(name);
        services.AddOptions<BroadcastOptions>(name).ValidateOnStart();
        if (configure is not null) services.Configure(name, configure);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<BroadcastOptions>, BroadcastOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IBroadcastProtocol, JsonProtocol>());
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IBroadcastProtocol, ReliableJsonProtocol>());
        services.AddMetrics();
        services.TryAddKeyedSingleton(name, Create);
        if (name == Options.Options.DefaultName)
        {
            services.TryAddSingleton<IConnectionRegistry, ConnectionRegistry>();
            services.TryAddSingleton<IBroadcaster>(provider => provider.GetRequiredKeyedService<Broadcaster>(name));
            services.TryAddSingleton<IPresence>(provider => provider.GetRequiredKeyedService<Broadcaster>(name).Presence);
        }
        else
        {
            services.TryAddKeyedSingleton<IConnectionRegistry, ConnectionRegistry>(name);
            services.TryAddKeyedSingleton<IBroadcaster>(name, static (provider, key) => provider.GetRequiredKeyedService<Broadcaster>(key));
            services.TryAddKeyedSingleton<IPresence>(name, static (provider, key) => provider.GetRequiredKeyedService<Broadcaster>(key).Presence);
        }

        return new BroadcastBuilder(name, services);
    }

    /// <summary>Adds a further broadcast, with its options from configuration.</summary>
    /// <param name="services">The app's services.</param>
    /// <param name="name">The broadcast's name and the key of its services.</param>
    /// <param name="configuration">The section whose keys are the names of the options.</param>
    public static IBroadcastBuilder AddBroadcast(this IServiceCollection services, string name, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        services.AddOptions<BroadcastOptions>(name).Bind(configuration);
        return services.AddBroadcast(name);
    }

    static Broadcaster Create(IServiceProvider services, object? key)
    {
        var name = (string)key!;
        var isDefault = name == Options.Options.DefaultName;
        return new Broadcaster(
            name,
            services.GetRequiredService<IOptionsMonitor<BroadcastOptions>>().Get(name),
            isDefault ? services.GetRequiredService<IConnectionRegistry>() : services.GetRequiredKeyedService<IConnectionRegistry>(name),
            isDefault ? services.GetService<IConnectionRevalidator>() : services.GetKeyedService<IConnectionRevalidator>(name),
            isDefault ? services.GetService<IUserIdProvider>() : services.GetKeyedService<IUserIdProvider>(name),
            isDefault ? services.GetService<IGroupAuthorizer>() : services.GetKeyedService<IGroupAuthorizer>(name),
            services.GetServices<IBroadcastProtocol>(),
            isDefault ? services.GetService<IBackplane>() : services.GetKeyedService<IBackplane>(name),
            services.GetRequiredService<TimeProvider>(),
            services.GetRequiredService<IMeterFactory>(),
            services.GetRequiredService<ILoggerFactory>().CreateLogger(isDefault ? "Broadcast" : $"Broadcast.{name}"),
            services.GetService<IHostApplicationLifetime>());
    }
}
