using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Microsoft.AspNetCore.Builder;

/// <summary>Gives broadcasts their URLs.</summary>
public static class BroadcastEndpointRouteBuilderExtensions
{
    /// <summary>
    /// Everyone connected to the same URL hears each other. With parameters in the pattern, as in <c>/rooms/{room}</c>, each URL that
    /// matches has a group of its own, made when first needed and gone when the last one has left.
    /// </summary>
    /// <param name="endpoints">The app, or a group of routes in it.</param>
    /// <param name="pattern">The route pattern. The group's name is the pattern with the parameters' values, such as <c>/rooms/blue</c>.</param>
    /// <param name="name">The name given to <c>AddBroadcast</c>; empty for the default broadcast.</param>
    /// <exception cref="InvalidOperationException">The broadcast has not been added.</exception>
    public static BroadcastEndpointConventionBuilder MapBroadcast(
        this IEndpointRouteBuilder endpoints, [StringSyntax("Route")] string pattern, string name = "")
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        ArgumentNullException.ThrowIfNull(pattern);
        ArgumentNullException.ThrowIfNull(name);
        var services = endpoints.ServiceProvider;
        var broadcaster = services.GetKeyedService<Broadcaster>(name) ?? throw new InvalidOperationException(
            $"MapBroadcast(\"{pattern}\") found no broadcast{(name.Length == 0 ? "" : $" named '{name}'")}: " +
            $"call builder.Services.AddBroadcast({(name.Length == 0 ? "" : $"\"{name}\"")}) before the app is built.");
        var shared = services.GetRequiredService<IOptionsMonitor<FilterRegistrations>>().Get(name);
        var own = new FilterRegistrations();

        BroadcastEndpoint? handler = null;

        // Any method: over HTTP/2 a WebSocket comes by CONNECT.
        var endpoint = endpoints.Map(pattern, context => handler!.InvokeAsync(context));
        endpoint.Finally(builder =>
        {
            // When all filters have been added; once, though the routes may be put together more than once.
            if (handler is not null) return;
            var pipeline = new FilterPipeline(broadcaster, [.. shared.Create(services), .. own.Create(services)]);
            var groupName = new GroupNameTemplate(((RouteEndpointBuilder)builder).RoutePattern);
            handler = new BroadcastEndpoint(broadcaster, pipeline, groupName, services);
        });
        return new(endpoint, own);
    }
}
