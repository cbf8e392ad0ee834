using System.Net.WebSockets;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// Closes all connections with close code 1001 when the app shuts down. The drain spreads the close frames over time,
/// so that not all clients connect to another node at once. At the end, the drain aborts the remaining connections.
/// </summary>
/// <remarks>
/// The host waits for the drain, because the server stops only after all connections have ended. Kestrel waits for open
/// requests, and the listener of this library waits for handed-over connections.
/// </remarks>
static class Drain
{
    // The usual number of connections to close in one step. A step closes more connections if the drain timeout is
    // short.
    const int ConnectionsPerStep = 50;
    static readonly TimeSpan Step = TimeSpan.FromMilliseconds(50);
    static readonly TimeSpan CheckInterval = TimeSpan.FromMilliseconds(10);

    public static async Task RunAsync(IReadOnlyList<Connection> connections, TimeSpan timeout, TimeProvider time)
    {
        var started = time.GetTimestamp();
        // The drain closes all idle connections in the first half of the timeout. The second half leaves time for the
        // clients to answer.
        var steps = Math.Clamp((connections.Count - 1) / ConnectionsPerStep, 0, (int)(timeout / 2 / Step));
        var handling = new List<Connection>();
        for (var step = 0; step <= steps; step++)
        {
            for (var i = step; i < connections.Count; i += steps + 1)
            {
                if (connections[i].ReceiveGate.TryStopHandling()) Close(connections[i]);
                else handling.Add(connections[i]);
            }

            if (step < steps) await Task.Delay(Step, time).ConfigureAwait(false);
        }

        // The server cannot send an answer after the close frame. Without an answer, the client would repeat its
        // request on another node. So wait until the server has answered, and then close the connection. The wait can
        // take time, because the server may itself need an answer from another node. In the last quarter of the
        // timeout, clients can answer the last close frames.
        var deadline = timeout * 3 / 4;
        for (var isOver = false; handling.Count > 0 && !isOver;)
        {
            await Task.Delay(CheckInterval, time).ConfigureAwait(false);
            isOver = time.GetElapsedTime(started) >= deadline;
            foreach (var connection in handling)
            {
                if (isOver || connection.ReceiveGate.TryStopHandling()) Close(connection);
            }

            handling.RemoveAll(static connection => connection.Writer.ClosingStatus is not null);
        }

        var remaining = timeout - time.GetElapsedTime(started);
        if (remaining > TimeSpan.Zero) await Task.Delay(remaining, time).ConfigureAwait(false);
        foreach (var connection in connections) connection.Abort(EndReason.ShuttingDown);
    }

    public static void Close(Connection connection) =>
        connection.Close(EndReason.ShuttingDown, WebSocketCloseStatus.EndpointUnavailable, CloseReasons.ShuttingDown);
}
