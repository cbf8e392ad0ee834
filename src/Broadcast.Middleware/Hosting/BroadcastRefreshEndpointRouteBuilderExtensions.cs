using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware;
using Broadcast.Middleware.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Microsoft.AspNetCore.Builder;

/// <summary>Maps URLs at which clients refresh the authentication of their connections.</summary>
public static class BroadcastRefreshEndpointRouteBuilderExtensions
{
    /// <summary>
    /// Maps a URL at which a client extends the authentication of its connection before the token expires. The client
    /// stays connected and misses no message.
    /// </summary>
    /// <remarks>
    /// The client sends a POST request with its new token or cookie, and the body <c>{"connectionId":"…"}</c>. The
    /// authentication of the app checks the request as usual. Afterwards, the connection has the user and the
    /// expiration of this request. In a cluster, any node can receive the request. The answers are:
    /// <list type="bullet">
    /// <item>204: the server has extended the authentication.</item>
    /// <item>400 or 415: the body is not valid JSON with a connection ID.</item>
    /// <item>401: the request is not authenticated, or its token has already expired.</item>
    /// <item>403: the server does not allow the origin of the page (see <see cref="BroadcastOptions.AllowedOrigins"/>),
    /// or the user has no ID.</item>
    /// <item>404: the user has no open connection with this ID at the URL. The answer is the same for a connection of
    /// another user.</item>
    /// <item>503: the node of the connection is unreachable.</item>
    /// </list>
    /// Call <c>RequireAuthorization</c> with the same policies and roles as for the URL of the connections. Otherwise,
    /// the app does not start, because a user that has lost a role could stay connected.
    /// </remarks>
    /// <param name="endpoints">The app, or a route group.</param>
    /// <param name="pattern">
    /// The route pattern, for example <c>/rooms/{room}/refresh</c>. The pattern must have all parameters of
    /// <paramref name="of"/>.
    /// </param>
    /// <param name="of">
    /// The pattern of the connections' URL, as in the call of <c>MapBroadcast</c>, for example <c>/rooms/{room}</c>.
    /// </param>
    /// <param name="name">The name of the broadcast. Empty for the default broadcast.</param>
    /// <exception cref="InvalidOperationException">The app did not call <c>AddBroadcast</c>.</exception>
    public static IEndpointConventionBuilder MapBroadcastRefresh(
        this IEndpointRouteBuilder endpoints,
        [StringSyntax("Route")] string pattern,
        [StringSyntax("Route")] string of,
        string name = "")
    {
        const string Call = nameof(MapBroadcastRefresh);
        ArgumentNullException.ThrowIfNull(endpoints);
        ArgumentNullException.ThrowIfNull(pattern);
        ArgumentNullException.ThrowIfNull(of);
        ArgumentNullException.ThrowIfNull(name);
        var broadcast = EndpointMapper.GetBroadcast(endpoints, $"{Call}(\"{pattern}\")", name);
        var related = new RelatedEndpoint(Call, pattern, of, name, needsSameAuthorization: true);
        RequestDelegate handler = broadcast.CreateRefreshEndpoint(related.FindGroup).InvokeAsync;
        return endpoints.MapPost(pattern, handler).WithMetadata(related);
    }
}
