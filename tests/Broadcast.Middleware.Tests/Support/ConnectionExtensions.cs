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

    extension(IConnectionRegistry registry)
    {
        /// <summary>
        /// Waits until the group has this number of members, and each member receives the messages of its groups. The registry alone
        /// cannot show this, because the server adds a member to the registry before it adds the member to the log of the group.
        /// </summary>
        public Task OpenedAsync(string group, int count) =>
            Eventually.True(() => registry.GetGroupMembers(group).Cast<Connection>().Count(static member => member.WasOpened) == count);
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_transport")]
    static extern ref ConnectionTransport? TransportOf(Connection connection);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_context")]
    static extern ref HttpContext? ContextOf(WebSocketTransport transport);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "<context>P")]
    static extern ref HttpContext ContextOf(EventStreamTransport transport);
}
