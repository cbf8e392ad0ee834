using Broadcast.Middleware.Http;
using Microsoft.AspNetCore.Http.Metadata;

namespace Broadcast.Middleware.Hosting;

/// <summary>
/// The metadata of an endpoint that <c>MapBroadcast</c> or <c>MapBroadcastPresence</c> has added. The metadata tells
/// other middleware how to treat the endpoint.
/// </summary>
/// <remarks>
/// A WebSocket or an <c>EventSource</c> cannot show a login page or an error page. So a request that is not authorized
/// gets status 401 or 403, not a redirect. The app can call <c>AllowCookieRedirect()</c> to get redirects again.
/// </remarks>
/// <param name="call">The name of the method that added the endpoint.</param>
/// <param name="broadcastName">The name of the broadcast. Empty for the default broadcast.</param>
sealed class MappedBroadcastMetadata(string call, string broadcastName)
    : IDisableCookieRedirectMetadata, ISkipStatusCodePagesMetadata
{
    public string Call => call;

    public string BroadcastName => broadcastName;

    /// <summary>The handler of the endpoint. Null until routing builds the endpoint.</summary>
    public BroadcastEndpoint? Handler { get; set; }
}
