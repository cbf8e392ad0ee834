using Broadcast.Middleware.Filters;
using Broadcast.Middleware.Http;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Routing.Patterns;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Hosting;

/// <summary>
/// Adds an endpoint to the routes of an app. Creates the handler of the endpoint when routing builds the endpoint.
/// </summary>
static class EndpointMapper
{
    /// <summary>Returns a broadcast.</summary>
    /// <param name="endpoints">The app, or a route group.</param>
    /// <param name="call">The text of the call, for the exception.</param>
    /// <param name="name">The name of the broadcast.</param>
    /// <exception cref="InvalidOperationException">The app did not call <c>AddBroadcast</c>.</exception>
    public static BroadcastInstance GetBroadcast(IEndpointRouteBuilder endpoints, string call, string name) =>
        endpoints.ServiceProvider.GetKeyedService<BroadcastInstance>(name) ?? throw new InvalidOperationException(
            $"{call} found no broadcast{(name.Length == 0 ? "" : $" named '{name}'")}. " +
            $"Call builder.Services.AddBroadcast({(name.Length == 0 ? "" : $"\"{name}\"")}) before you build the app.");

    /// <summary>Adds an endpoint.</summary>
    /// <param name="endpoints">The app, or a route group.</param>
    /// <param name="pattern">The route pattern.</param>
    /// <param name="mapped">The metadata of the endpoint.</param>
    /// <param name="create">
    /// Creates the handler from the pattern, the hosts of <c>RequireHost</c>, and the filters of the endpoint.
    /// </param>
    public static BroadcastEndpointConventionBuilder Map(
        IEndpointRouteBuilder endpoints,
        string pattern,
        MappedBroadcastMetadata mapped,
        Func<RoutePattern, IReadOnlyList<string>, IEnumerable<IBroadcastFilter>, BroadcastEndpoint> create)
    {
        var endpointFilters = new FilterRegistrations();
        BroadcastEndpoint? handler = null;

        // Map all HTTP methods, because a WebSocket over HTTP/2 uses CONNECT.
        var endpoint = endpoints.Map(pattern, context => handler!.InvokeAsync(context));
        endpoint.WithMetadata(mapped, new NoOutputCache());
        endpoint.Finally(builder =>
        {
            // At this point, the app has added all filters. Routing may build the endpoint more than once.
            if (handler is not null) return;
            var route = ((RouteEndpointBuilder)builder).RoutePattern;
            var hosts = builder.Metadata.OfType<IHostMetadata>().LastOrDefault()?.Hosts ?? [];
            try
            {
                handler = mapped.Handler = create(route, hosts, endpointFilters.Create(endpoints.ServiceProvider));
            }
            catch (InvalidOperationException exception)
            {
                throw new InvalidOperationException(
                    $"{mapped.Call}(\"{route.RawText}\"): {exception.Message}", exception);
            }
        });
        return new(endpoint, endpointFilters);
    }
}
