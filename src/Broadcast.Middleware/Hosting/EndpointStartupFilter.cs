using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Routing.Patterns;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Hosting;

/// <summary>
/// Builds and checks the endpoints when the app starts, and connects related endpoints. Without this filter, errors
/// would appear only at the first request. The filter also adds <see cref="UnauthorizedRecovery"/> before the
/// middleware of the app.
/// </summary>
sealed class EndpointStartupFilter : IStartupFilter
{
    public Action<IApplicationBuilder> Configure(Action<IApplicationBuilder> next) => app =>
    {
        app.Use(UnauthorizedRecovery.Handle);
        next(app);
        // At this point, the app has mapped its endpoints. The property Endpoints builds the endpoints and creates
        // their filters.
        var known = app.ApplicationServices.GetService<EndpointDataSource>()?.Endpoints ?? [];
        var endpoints = known.OfType<RouteEndpoint>().ToArray();
        ThrowIfAmbiguous(endpoints);
        foreach (var endpoint in endpoints)
            endpoint.Metadata.GetMetadata<RelatedEndpoint>()?.Resolve(endpoint, endpoints);
    };

    /// <exception cref="InvalidOperationException">Two endpoints have the same URLs.</exception>
    static void ThrowIfAmbiguous(IEnumerable<RouteEndpoint> endpoints)
    {
        var problems = endpoints
            .Where(static endpoint => endpoint.Metadata.GetMetadata<MappedBroadcastMetadata>() is not null)
            .GroupBy(GetUrls, StringComparer.OrdinalIgnoreCase)
            .Where(static group => group.Count() > 1)
            .Select(static group =>
                $"{string.Join(" and ", group.Select(GetCall))} have the same URLs. " +
                "Remove one of the calls, change its pattern, or separate the endpoints with RequireHost.")
            .ToArray();
        if (problems.Length > 0) throw new InvalidOperationException(string.Join(Environment.NewLine, problems));
    }

    /// <summary>Returns true if both endpoints have the same hosts of <c>RequireHost</c>.</summary>
    public static bool HaveSameHosts(RouteEndpoint first, RouteEndpoint second) =>
        GetHosts(first).Equals(GetHosts(second), StringComparison.OrdinalIgnoreCase);

    /// <summary>Returns true if routing cannot distinguish the path of an endpoint from another path.</summary>
    public static bool HasPath(RouteEndpoint endpoint, IReadOnlyList<RoutePatternPathSegment> path) =>
        GetPath(endpoint.RoutePattern.PathSegments).Equals(GetPath(path), StringComparison.OrdinalIgnoreCase);

    /// <summary>
    /// Returns a text that identifies a part of a path. Compare the texts without case, because routing ignores the
    /// case of literals.
    /// </summary>
    public static string GetPart(RoutePatternPart part)
    {
        if (part is RoutePatternLiteralPart literal) return literal.Content;
        if (part is not RoutePatternParameterPart parameter) return ((RoutePatternSeparatorPart)part).Content;
        // Routing compares the constraints of a parameter, but not its name.
        var constraints = parameter.ParameterPolicies.Select(static policy => policy.Content);
        return $"{{{parameter.ParameterKind}:{string.Join(':', constraints)}}}";
    }

    static string GetCall(RouteEndpoint endpoint) =>
        $"{endpoint.Metadata.GetMetadata<MappedBroadcastMetadata>()!.Call}(\"{endpoint.RoutePattern.RawText}\")";

    /// <summary>
    /// Returns a key for the URLs of an endpoint. Two endpoints have the same key if routing cannot distinguish them.
    /// </summary>
    static string GetUrls(RouteEndpoint endpoint) =>
        $"{GetHosts(endpoint)}/{GetPath(endpoint.RoutePattern.PathSegments)}";

    /// <summary>Returns the hosts of <c>RequireHost</c> as one text.</summary>
    static string GetHosts(RouteEndpoint endpoint)
    {
        var hosts = endpoint.Metadata.GetMetadata<IHostMetadata>()?.Hosts ?? [];
        return string.Join(',', hosts.Order(StringComparer.OrdinalIgnoreCase));
    }

    static string GetPath(IReadOnlyList<RoutePatternPathSegment> path) => string.Join('/', path.Select(GetSegment));

    static string GetSegment(RoutePatternPathSegment segment) => string.Concat(segment.Parts.Select(GetPart));
}
