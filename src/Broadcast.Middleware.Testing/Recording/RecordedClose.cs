using System.Net.WebSockets;

namespace Broadcast.Middleware.Testing;

/// <summary>A recorded call that closes a connection: see <see cref="RecordingBroadcaster.Closes"/>.</summary>
public sealed class RecordedClose : IEquatable<RecordedClose>
{
    internal RecordedClose(string connectionId, WebSocketCloseStatus status, string? reason) =>
        (ConnectionId, Status, Reason) = (connectionId, status, reason);

    /// <summary>The ID of the connection.</summary>
    public string ConnectionId { get; }

    /// <summary>The close code.</summary>
    public WebSocketCloseStatus Status { get; }

    /// <summary>The reason. Null without a reason.</summary>
    public string? Reason { get; }

    /// <inheritdoc />
    public bool Equals(RecordedClose? other) => other is not null
        && ConnectionId == other.ConnectionId && Status == other.Status && Reason == other.Reason;

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as RecordedClose);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(ConnectionId, Status, Reason);

    /// <summary>Returns a text for assertion messages and debuggers.</summary>
    public override string ToString() => $"close {ConnectionId} with {(int)Status} '{Reason}'";
}
