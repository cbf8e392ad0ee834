using System.Net.WebSockets;

namespace Broadcast.Middleware.Testing;

/// <summary>A recorded call that closes a connection: see <see cref="RecordingBroadcaster.Closes"/>.</summary>
public sealed class RecordedClose
{
    internal RecordedClose(string connectionId, WebSocketCloseStatus status, string? reason) =>
        (ConnectionId, Status, Reason) = (connectionId, status, reason);

    /// <summary>The ID of the connection.</summary>
    public string ConnectionId { get; }

    /// <summary>The close code.</summary>
    public WebSocketCloseStatus Status { get; }

    /// <summary>The reason. Null without a reason.</summary>
    public string? Reason { get; }

    /// <summary>Returns a text for assertion messages and debuggers.</summary>
    public override string ToString() => $"close {ConnectionId} with {(int)Status} '{Reason}'";
}
