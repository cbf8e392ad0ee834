using System.Net.Sockets;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>Finds the TCP socket of a client.</summary>
static class ClientSocket
{
    /// <summary>
    /// Returns the socket if only this request uses it. Otherwise returns null: over HTTP/2, several requests share a
    /// socket.
    /// </summary>
    public static Socket? Find(HttpContext context) => HttpProtocol.IsHttp11(context.Request.Protocol)
        ? context.Features.Get<IConnectionSocketFeature>()?.Socket
        : null;
}
