using System.Net;
using Microsoft.AspNetCore.Connections;

namespace Broadcast.Middleware.Transports;

/// <summary>
/// Wraps the socket transport of Kestrel, so that the library can keep a connection after its HTTP request has ended.
/// </summary>
/// <remarks>
/// Kestrel keeps several objects for each open request: the request, the response, their features and timers. A
/// WebSocket needs none of these objects after the handshake. docs/internals/performance.md shows the
/// memory that the handover saves.
/// </remarks>
/// <param name="sockets">The transport that listens.</param>
/// <param name="options">The options of the connections.</param>
sealed class HandoverListenerFactory(IConnectionListenerFactory sockets, HandoverOptions options)
    : IConnectionListenerFactory, IConnectionListenerFactorySelector
{
    public bool CanBind(EndPoint endpoint) =>
        sockets is not IConnectionListenerFactorySelector selector || selector.CanBind(endpoint);

    public async ValueTask<IConnectionListener> BindAsync(
        EndPoint endpoint, CancellationToken cancellationToken = default) =>
        new HandoverListener(await sockets.BindAsync(endpoint, cancellationToken), options);
}
