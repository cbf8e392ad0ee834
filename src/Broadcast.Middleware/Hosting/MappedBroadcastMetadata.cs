using Broadcast.Middleware.Http;
using Microsoft.AspNetCore.Http.Metadata;

namespace Broadcast.Middleware.Hosting;

/// <summary>
/// The metadata of an endpoint that <c>MapBroadcast</c> has added. The metadata tells other middleware how to treat the
/// endpoint.
/// </summary>
/// <remarks>
/// A WebSocket or an <c>EventSource</c> cannot show a login page or an error page. So a request that is not authorized
/// gets status 401 or 403, not a redirect. The app can call <c>AllowCookieRedirect()</c> to get redirects again.
/// </remarks>
sealed class MappedBroadcastMetadata : IDisableCookieRedirectMetadata, ISkipStatusCodePagesMetadata
{
    /// <summary>The handler of the endpoint. Null until the app has added all filters.</summary>
    public BroadcastEndpoint? Handler { get; set; }
}
