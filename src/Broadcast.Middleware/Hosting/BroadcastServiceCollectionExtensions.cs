using Broadcast.Middleware;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Hosting;
using Broadcast.Middleware.Protocols;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds broadcasts to an app.</summary>
public static class BroadcastServiceCollectionExtensions
{
    /// <summary>
    /// Adds the default broadcast. The app can then inject <see cref="IBroadcaster"/>,
    /// <see cref="IConnectionRegistry"/> and <see cref="IPresence"/>. <c>MapBroadcast(pattern)</c> gives the broadcast
    /// a URL.
    /// </summary>
    /// <param name="services">The services of the app.</param>
    /// <param name="configure">Sets options. Several calls add up.</param>
    public static IBroadcastBuilder AddBroadcast(
        this IServiceCollection services, Action<BroadcastOptions>? configure = null) =>
        services.AddBroadcast(Options.Options.DefaultName, configure);

    /// <summary>Adds the default broadcast, with options from a configuration section.</summary>
    /// <param name="services">The services of the app.</param>
    /// <param name="configuration">
    /// A section whose keys are the names of options. By convention, its name is <c>Broadcast</c>. The app does not
    /// start if another key is in the section. The section <c>Redis</c> is allowed.
    /// </param>
    public static IBroadcastBuilder AddBroadcast(this IServiceCollection services, IConfiguration configuration) =>
        services.AddBroadcast(Options.Options.DefaultName, configuration);

    /// <summary>
    /// Adds a named broadcast. It shares nothing with other broadcasts: it has its own options, filters and
    /// connections. Its services are keyed by its name. <c>MapBroadcast(pattern, name)</c> gives it a URL.
    /// </summary>
    /// <param name="services">The services of the app.</param>
    /// <param name="name">
    /// The name of the broadcast and the key of its services. Empty for the default broadcast.
    /// </param>
    /// <param name="configure">Sets options. Several calls add up.</param>
    public static IBroadcastBuilder AddBroadcast(
        this IServiceCollection services, string name, Action<BroadcastOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(name);
        services.AddOptions<BroadcastOptions>(name).ValidateOnStart();
        if (configure is not null) services.Configure(name, configure);
        services.TryAddEnumerable(
        [
            ServiceDescriptor.Singleton<IValidateOptions<BroadcastOptions>, BroadcastOptionsValidator>(),
            ServiceDescriptor.Singleton<IValidateOptions<BroadcastOptions>, DrainTimeoutValidator>(),
            ServiceDescriptor.Singleton<IStartupFilter, EndpointStartupFilter>(),
        ]);
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IBroadcastProtocol, JsonProtocol>());
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IBroadcastProtocol, ReliableJsonProtocol>());
        services.AddMetrics();
        services.TryAddKeyedSingleton(name, static (provider, key) => BroadcastInstance.Create(provider, (string)key!));
        if (name == Options.Options.DefaultName)
        {
            services.TryAddSingleton<IConnectionRegistry, ConnectionRegistry>();
            services.TryAddSingleton<IBroadcaster>(static provider => provider.GetInstance("").Broadcaster);
            services.TryAddSingleton<IPresence>(static provider => provider.GetInstance("").Presence);
        }
        else
        {
            services.TryAddKeyedSingleton<IConnectionRegistry, ConnectionRegistry>(name);
            services.TryAddKeyedSingleton<IBroadcaster>(
                name, static (provider, key) => provider.GetInstance(key).Broadcaster);
            services.TryAddKeyedSingleton<IPresence>(
                name, static (provider, key) => provider.GetInstance(key).Presence);
        }

        return new BroadcastBuilder(name, services);
    }

    /// <summary>Adds a named broadcast, with options from a configuration section.</summary>
    /// <param name="services">The services of the app.</param>
    /// <param name="name">The name of the broadcast and the key of its services.</param>
    /// <param name="configuration">
    /// A section whose keys are the names of options. The app does not start if another key is in the section.
    /// </param>
    public static IBroadcastBuilder AddBroadcast(
        this IServiceCollection services, string name, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        services.AddOptions<BroadcastOptions>(name).Bind(configuration);
        // The root of a configuration has keys of other parts of the app.
        if (configuration is IConfigurationSection section)
            services.AddSingleton<IValidateOptions<BroadcastOptions>>(new ConfigurationKeyValidator(name, section));
        return services.AddBroadcast(name);
    }

    static BroadcastInstance GetInstance(this IServiceProvider provider, object? name) =>
        provider.GetRequiredKeyedService<BroadcastInstance>(name);
}
