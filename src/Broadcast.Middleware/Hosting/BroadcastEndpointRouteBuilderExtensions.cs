using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware;
using Broadcast.Middleware.Filters;
using Broadcast.Middleware.Hosting;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Microsoft.AspNetCore.Builder;

/// <summary>Maps broadcasts to URLs.</summary>
public static class BroadcastEndpointRouteBuilderExtensions
{
    /// <summary>
    /// Maps the default broadcast to a URL. All clients of the same URL receive each other's messages. If the pattern
    /// has parameters, such as <c>/rooms/{room}</c>, each URL has its own group. A group exists while the group has
    /// members or keeps messages.
    /// </summary>
    /// <param name="endpoints">The app, or a route group.</param>
    /// <param name="pattern">
    /// The route pattern. The name of a group is the pattern with the route values, for example <c>/rooms/blue</c>.
    /// With <c>RequireHost</c> or a path base, the name starts with a scope: see
    /// <see cref="BroadcastOptions.GroupScope"/>.
    /// </param>
    /// <exception cref="InvalidOperationException">The app did not call <c>AddBroadcast</c>.</exception>
    public static BroadcastEndpointConventionBuilder MapBroadcast(
        this IEndpointRouteBuilder endpoints, [StringSyntax("Route")] string pattern) =>
        Map(endpoints, pattern, "", null);

    /// <summary>Maps a broadcast to a URL.</summary>
    /// <param name="endpoints">The app, or a route group.</param>
    /// <param name="pattern">
    /// The route pattern. The name of a group is the pattern with the route values, for example <c>/rooms/blue</c>.
    /// With <c>RequireHost</c> or a path base, the name starts with a scope: see
    /// <see cref="BroadcastOptions.GroupScope"/>.
    /// </param>
    /// <param name="name">
    /// The name of the broadcast, as in the call of <c>AddBroadcast</c>. Empty for the default broadcast.
    /// </param>
    /// <exception cref="InvalidOperationException">
    /// The app did not call <c>AddBroadcast</c> for this broadcast.
    /// </exception>
    public static BroadcastEndpointConventionBuilder MapBroadcast(
        this IEndpointRouteBuilder endpoints, [StringSyntax("Route")] string pattern, string name) =>
        Map(endpoints, pattern, name, null);

    /// <summary>Maps the default broadcast to a URL, with options for this URL.</summary>
    /// <param name="endpoints">The app, or a route group.</param>
    /// <param name="pattern">
    /// The route pattern. The name of a group is the pattern with the route values, for example <c>/rooms/blue</c>.
    /// With <c>RequireHost</c> or a path base, the name starts with a scope: see
    /// <see cref="BroadcastOptions.GroupScope"/>.
    /// </param>
    /// <param name="configure">
    /// Changes the options. Each option starts with the value of the broadcast. The server checks the options when the
    /// app starts.
    /// </param>
    /// <exception cref="InvalidOperationException">The app did not call <c>AddBroadcast</c>.</exception>
    public static BroadcastEndpointConventionBuilder MapBroadcast(
        this IEndpointRouteBuilder endpoints,
        [StringSyntax("Route")] string pattern,
        Action<BroadcastEndpointOptions> configure) =>
        endpoints.MapBroadcast(pattern, "", configure);

    /// <summary>Maps a broadcast to a URL, with options for this URL.</summary>
    /// <param name="endpoints">The app, or a route group.</param>
    /// <param name="pattern">
    /// The route pattern. The name of a group is the pattern with the route values, for example <c>/rooms/blue</c>.
    /// With <c>RequireHost</c> or a path base, the name starts with a scope: see
    /// <see cref="BroadcastOptions.GroupScope"/>.
    /// </param>
    /// <param name="name">
    /// The name of the broadcast, as in the call of <c>AddBroadcast</c>. Empty for the default broadcast.
    /// </param>
    /// <param name="configure">
    /// Changes the options. Each option starts with the value of the broadcast. The server checks the options when the
    /// app starts.
    /// </param>
    /// <exception cref="InvalidOperationException">
    /// The app did not call <c>AddBroadcast</c> for this broadcast.
    /// </exception>
    public static BroadcastEndpointConventionBuilder MapBroadcast(
        this IEndpointRouteBuilder endpoints,
        [StringSyntax("Route")] string pattern,
        string name,
        Action<BroadcastEndpointOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        return Map(endpoints, pattern, name, configure);
    }

    static BroadcastEndpointConventionBuilder Map(
        IEndpointRouteBuilder endpoints, string pattern, string name, Action<BroadcastEndpointOptions>? configure)
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        ArgumentNullException.ThrowIfNull(pattern);
        ArgumentNullException.ThrowIfNull(name);
        var services = endpoints.ServiceProvider;
        var broadcast = EndpointMapper.GetBroadcast(endpoints, $"MapBroadcast(\"{pattern}\")", name);
        var options = broadcast.CreateEndpointOptions();
        configure?.Invoke(options);
        var broadcastFilters = services.GetRequiredService<IOptionsMonitor<FilterRegistrations>>().Get(name);
        return EndpointMapper.Map(
            endpoints,
            pattern,
            new MappedBroadcastMetadata(nameof(MapBroadcast), name),
            (route, hosts, endpointFilters) => broadcast.CreateEndpoint(
                route, hosts, options, [.. broadcastFilters.Create(services), .. endpointFilters]));
    }
}
