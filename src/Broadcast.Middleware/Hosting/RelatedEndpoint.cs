using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Routing.Patterns;

namespace Broadcast.Middleware.Hosting;

/// <summary>
/// The metadata of an endpoint that belongs to another endpoint. For example, a presence endpoint belongs to an
/// endpoint of <c>MapBroadcast</c>. When the app starts, the class finds the other endpoint, and checks the route
/// parameters and the authorization of both endpoints.
/// </summary>
/// <param name="call">The name of the method that added this endpoint.</param>
/// <param name="pattern">The pattern of this endpoint, without the prefixes of route groups.</param>
/// <param name="of">The pattern of the other endpoint, without the prefixes of route groups.</param>
/// <param name="broadcastName">The name of the broadcast. Empty for the default broadcast.</param>
/// <param name="needsSameAuthorization">
/// True if this endpoint must have all authorization requirements of the other endpoint. False if one authorization
/// requirement of any kind is enough.
/// </param>
sealed class RelatedEndpoint(
    string call, string pattern, string of, string broadcastName, bool needsSameAuthorization)
{
    readonly RoutePattern _pattern = RoutePatternFactory.Parse(pattern);
    readonly RoutePattern _of = RoutePatternFactory.Parse(of);
    MappedBroadcastMetadata? _found;

    /// <summary>Returns the group that a request would have at the other endpoint.</summary>
    /// <remarks>The name of the group can be invalid, because this method does not check the route values.</remarks>
    public string FindGroup(HttpContext context) => _found!.Handler!.GetGroup(context);

    /// <summary>Finds the other endpoint.</summary>
    /// <param name="own">This endpoint.</param>
    /// <param name="endpoints">All endpoints of the app.</param>
    /// <exception cref="InvalidOperationException">
    /// The other endpoint is missing or ambiguous, or the route parameters or the authorization of this endpoint are
    /// insufficient.
    /// </exception>
    public void Resolve(RouteEndpoint own, IReadOnlyCollection<RouteEndpoint> endpoints)
    {
        var prefix = own.RoutePattern.PathSegments.SkipLast(_pattern.PathSegments.Count);
        RoutePatternPathSegment[] path = [.. prefix, .. _of.PathSegments];
        var matches = endpoints.Where(endpoint => IsMatch(endpoint, path)).ToArray();
        // An endpoint with the same hosts takes precedence, and then an endpoint with the same constraints.
        var found = Prefer(matches, endpoint => EndpointStartupFilter.HaveSameHosts(endpoint, own));
        found = Prefer(found, endpoint => EndpointStartupFilter.HasPath(endpoint, path));
        if (found is not [var other])
        {
            throw new InvalidOperationException(
                $"{Describe(own)} belongs to the URL \"{of}\", but MapBroadcast(\"{of}\") " +
                (matches.Length == 0 ? "is missing" : "exists several times") +
                (broadcastName.Length == 0 ? "" : $" for the broadcast '{broadcastName}'") +
                ". Correct the pattern or the name, or call MapBroadcast for this URL. If several calls differ " +
                "only in route constraints, add the constraints here, too. If they differ only in RequireHost, call " +
                "RequireHost here, too.");
        }

        var missing = other.RoutePattern.Parameters
            .Select(static parameter => parameter.Name)
            .Where(name => own.RoutePattern.GetParameter(name) is null)
            .ToArray();
        if (missing.Length > 0)
        {
            throw new InvalidOperationException(
                $"{Describe(own)} belongs to the URL \"{other.RoutePattern.RawText}\", but its pattern has no " +
                $"parameter {{{string.Join("} and no parameter {", missing)}}}. Add the parameter to the pattern.");
        }

        ThrowIfUnauthorized(own, other);
        _found = other.Metadata.GetMetadata<MappedBroadcastMetadata>();
    }

    /// <summary>
    /// Returns true for an endpoint with this path. In the path, a parameter without constraints stands for a parameter
    /// with any constraints.
    /// </summary>
    bool IsMatch(RouteEndpoint endpoint, RoutePatternPathSegment[] path) =>
        endpoint.Metadata.GetMetadata<MappedBroadcastMetadata>() is { Call: "MapBroadcast" } mapped
        && mapped.BroadcastName == broadcastName
        && endpoint.RoutePattern.PathSegments.Count == path.Length
        && endpoint.RoutePattern.PathSegments.Zip(path).All(static pair => IsMatch(pair.First, pair.Second));

    /// <summary>Returns the endpoints that meet the condition, or all endpoints if no endpoint meets it.</summary>
    static RouteEndpoint[] Prefer(RouteEndpoint[] endpoints, Predicate<RouteEndpoint> condition)
    {
        var preferred = Array.FindAll(endpoints, condition);
        return preferred.Length > 0 ? preferred : endpoints;
    }

    static bool IsMatch(RoutePatternPathSegment segment, RoutePatternPathSegment wanted) =>
        segment.Parts.Count == wanted.Parts.Count
        && segment.Parts.Zip(wanted.Parts).All(static pair => IsMatch(pair.First, pair.Second));

    static bool IsMatch(RoutePatternPart part, RoutePatternPart wanted) =>
        wanted is RoutePatternParameterPart { ParameterPolicies.Count: 0 } parameter
            ? part is RoutePatternParameterPart other && other.ParameterKind == parameter.ParameterKind
            : EndpointStartupFilter.GetPart(part).Equals(
                EndpointStartupFilter.GetPart(wanted), StringComparison.OrdinalIgnoreCase);

    /// <exception cref="InvalidOperationException">
    /// The other endpoint requires authorization, but the authorization of this endpoint is insufficient.
    /// </exception>
    void ThrowIfUnauthorized(RouteEndpoint own, RouteEndpoint other)
    {
        if (!needsSameAuthorization && own.Metadata.GetMetadata<IAllowAnonymous>() is not null) return;
        var (needed, given) = (GetRequirements(other), GetRequirements(own));
        if (needsSameAuthorization ? needed.IsSubsetOf(given) : needed.Count == 0 || given.Count > 0) return;
        throw new InvalidOperationException(
            $"MapBroadcast(\"{other.RoutePattern.RawText}\") requires authorization, but {Describe(own)} does not" +
            (needsSameAuthorization
                ? " require the same. A user without this authorization could stay connected. Call " +
                  "RequireAuthorization with the same policies and roles for both URLs."
                : ", so any client could see the members. Call RequireAuthorization(). To show the members to " +
                  "everyone, call AllowAnonymous()."));
    }

    /// <summary>
    /// Returns the policies, roles and requirements of an endpoint. The result contains no authentication schemes,
    /// because the schemes of two related endpoints may differ.
    /// </summary>
    static HashSet<object> GetRequirements(RouteEndpoint endpoint)
    {
        var requirements = new HashSet<object>();
        // AllowAnonymous disables every requirement.
        if (endpoint.Metadata.GetMetadata<IAllowAnonymous>() is not null) return requirements;
        foreach (var data in endpoint.Metadata.GetOrderedMetadata<IAuthorizeData>())
            requirements.Add((data.Policy, data.Roles));
        foreach (var data in endpoint.Metadata.GetOrderedMetadata<IAuthorizationRequirementData>())
            requirements.Add(data);
        foreach (var policy in endpoint.Metadata.GetOrderedMetadata<AuthorizationPolicy>()) requirements.Add(policy);
        return requirements;
    }

    string Describe(RouteEndpoint own) => $"{call}(\"{own.RoutePattern.RawText}\")";
}
