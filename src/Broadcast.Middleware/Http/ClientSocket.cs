using System.Net.Sockets;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>Finds the TCP socket of a client.</summary>
static class ClientSocket
{
    /// <summary>
    /// Returns the socket of an HTTP/1.1 request. Returns null for HTTP/2, because several requests share one socket.
    /// The method also returns null if the server does not provide the socket.
    /// </summary>
    public static Socket? Find(HttpContext context) => HttpProtocol.IsHttp11(context.Request.Protocol)
        ? context.Features.Get<IConnectionSocketFeature>()?.Socket
        : null;
}
