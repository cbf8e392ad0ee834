using Broadcast.Middleware;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Hosting;
using Broadcast.Middleware.Http;
using Broadcast.Middleware.Protocols;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds broadcasts to an app.</summary>
public static class BroadcastServiceCollectionExtensions
{
    /// <summary>
    /// Adds the default broadcast. The app can then inject <see cref="IBroadcaster"/>,
    /// <see cref="IConnectionRegistry"/> and <see cref="IPresence"/>. Call <c>MapBroadcast(pattern)</c> to give the
    /// broadcast a URL.
    /// </summary>
    /// <param name="services">The services of the app.</param>
    /// <param name="configure">
    /// Sets options. If the app calls this method several times, the settings apply in the order of the calls.
    /// </param>
    public static IBroadcastBuilder AddBroadcast(
        this IServiceCollection services, Action<BroadcastOptions>? configure = null) =>
        services.AddBroadcast(Options.Options.DefaultName, configure);

    /// <summary>Adds the default broadcast, with options from a configuration section.</summary>
    /// <param name="services">The services of the app.</param>
    /// <param name="configuration">
    /// A section that has option names as keys. By convention, the name of the section is <c>Broadcast</c>. The app
    /// does not start if the section contains an unknown key. The key <c>Redis</c> is allowed.
    /// </param>
    public static IBroadcastBuilder AddBroadcast(this IServiceCollection services, IConfiguration configuration) =>
        services.AddBroadcast(Options.Options.DefaultName, configuration);

    /// <summary>
    /// Adds a named broadcast. A named broadcast has its own options, filters and connections. The name is also the key
    /// of the broadcast's services. Call <c>MapBroadcast(pattern, name)</c> to give the broadcast a URL.
    /// </summary>
    /// <param name="services">The services of the app.</param>
    /// <param name="name">
    /// The name of the broadcast and the key of its services. Empty for the default broadcast.
    /// </param>
    /// <param name="configure">
    /// Sets options. If the app calls this method several times, the settings apply in the order of the calls.
    /// </param>
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
        services.TryAddSingleton<DrainSchedule>();
        services.TryAddSingleton<InternalBroadcasts>();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, DrainService>());
        DrainingServer.Decorate(services);
        HandoverTransport.Decorate(services);
        services.TryAddSingleton<CookieRenewals>();
        services.TryAddEnumerable(
            ServiceDescriptor.Singleton<IPostConfigureOptions<CookieAuthenticationOptions>, CookieRenewals>(
                static provider => provider.GetRequiredService<CookieRenewals>()));
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IBroadcastProtocol, JsonProtocol>());
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IBroadcastProtocol, ReliableJsonProtocol>());
        services.AddMetrics();
        services.TryAddKeyedSingleton(name, static (provider, key) => BroadcastInstance.Create(provider, (string)key!));
        services.TryAddKeyedSingleton(
            name,
            static (provider, key) =>
                new PresenceBroadcast(BroadcastInstance.CreateForPresence(provider, (string)key!)));
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
    /// A section that has option names as keys. The app does not start if the section contains an unknown key.
    /// </param>
    public static IBroadcastBuilder AddBroadcast(
        this IServiceCollection services, string name, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        services.AddOptions<BroadcastOptions>(name).Bind(configuration);
        // Check only sections. The root of a configuration also contains keys of other parts of the app.
        if (configuration is IConfigurationSection section)
            services.AddSingleton<IValidateOptions<BroadcastOptions>>(new ConfigurationKeyValidator(name, section));
        return services.AddBroadcast(name);
    }

    static BroadcastInstance GetInstance(this IServiceProvider provider, object? name) =>
        provider.GetRequiredKeyedService<BroadcastInstance>(name);
}
