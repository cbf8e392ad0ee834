using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware;
using Broadcast.Middleware.Filters;
using Broadcast.Middleware.Hosting;
using Broadcast.Middleware.Http;
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
    /// members or a history.
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
        var broadcast = services.GetKeyedService<BroadcastInstance>(name) ?? throw new InvalidOperationException(
            $"MapBroadcast(\"{pattern}\") found no broadcast{(name.Length == 0 ? "" : $" named '{name}'")}. " +
            $"Call builder.Services.AddBroadcast({(name.Length == 0 ? "" : $"\"{name}\"")}) before you build the app.");
        var options = broadcast.CreateEndpointOptions();
        configure?.Invoke(options);
        var broadcastFilters = services.GetRequiredService<IOptionsMonitor<FilterRegistrations>>().Get(name);
        var endpointFilters = new FilterRegistrations();
        BroadcastEndpoint? handler = null;

        // Map all HTTP methods, because a WebSocket over HTTP/2 uses CONNECT.
        var endpoint = endpoints.Map(pattern, context => handler!.InvokeAsync(context));
        var mapped = new MappedBroadcastMetadata();
        endpoint.WithMetadata(mapped, new NoOutputCache());
        endpoint.Finally(builder =>
        {
            // At this point, the app has added all filters. Routing may build the endpoint more than once.
            if (handler is not null) return;
            var route = ((RouteEndpointBuilder)builder).RoutePattern;
            var hosts = builder.Metadata.OfType<IHostMetadata>().LastOrDefault()?.Hosts ?? [];
            try
            {
                handler = mapped.Handler = broadcast.CreateEndpoint(
                    route, hosts, options, [.. broadcastFilters.Create(services), .. endpointFilters.Create(services)]);
            }
            catch (InvalidOperationException exception)
            {
                throw new InvalidOperationException(
                    $"MapBroadcast(\"{route.RawText}\"): {exception.Message}", exception);
            }
        });
        return new(endpoint, endpointFilters);
    }
}
