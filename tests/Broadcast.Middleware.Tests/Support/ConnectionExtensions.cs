using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Tests.Support;

static class ConnectionExtensions
{
    extension(IBroadcastConnection connection)
    {
        /// <summary>
        /// Returns the request of the connection's current transport. After a handover, the connection has no request.
        /// </summary>
        public HttpContext HttpContext => TransportOf((Connection)connection) switch
        {
            WebSocketTransport webSocket when ContextOf(webSocket) is { } context => context,
            EventStreamTransport eventStream => ContextOf(eventStream),
            _ => throw new InvalidOperationException("The connection has no request."),
        };
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_transport")]
    static extern ref ConnectionTransport? TransportOf(Connection connection);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_context")]
    static extern ref HttpContext? ContextOf(WebSocketTransport transport);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "<context>P")]
    static extern ref HttpContext ContextOf(EventStreamTransport transport);
}
