using System.Net.WebSockets;

namespace Broadcast.Middleware.Delivery;

/// <summary>A violation of the protocol by a client.</summary>
/// <param name="Status">The code of the close frame that the server sends.</param>
/// <param name="Reason">The reason in this close frame.</param>
sealed record ReceiveError(WebSocketCloseStatus Status, string Reason);
