using System.Net.WebSockets;

namespace Broadcast.Middleware.Delivery;

/// <summary>A request to close a connection.</summary>
/// <param name="Status">The close code.</param>
/// <param name="Reason">The reason, for the developer of the client.</param>
/// <param name="LastSequence">The highest sequence number to send before the close frame.</param>
sealed record CloseRequest(WebSocketCloseStatus Status, string? Reason, long LastSequence)
{
    /// <summary>True after the writer has asked the protocol for a last message.</summary>
    public bool IsAnnounced { get; set; }

    /// <summary>
    /// The source of a task that completes when the server has sent the close frame, or when the writer can no longer
    /// send the frame.
    /// </summary>
    public TaskCompletionSource Completed { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
}
