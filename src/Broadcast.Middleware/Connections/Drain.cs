using System.Net.WebSockets;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// Closes all connections of an app that is shutting down, with 1001. The drain spreads the closes over time, so that
/// not all clients connect to another node at once. At the end, it aborts the remaining connections.
/// </summary>
/// <remarks>The host waits for the drain, because it waits for the requests.</remarks>
static class Drain
{
    // The number of clients that one step closes. The drain closes more clients per step if the drain time is too short
    // for this pace.
    const int ConnectionsPerStep = 50;
    static readonly TimeSpan Step = TimeSpan.FromMilliseconds(50);
    static readonly TimeSpan CheckInterval = TimeSpan.FromMilliseconds(10);

    public static async Task RunAsync(IReadOnlyList<Connection> connections, TimeSpan timeout, TimeProvider time)
    {
        var started = time.GetTimestamp();
        // The close frames use half of the time. The other half is for the answers of the last clients.
        var steps = Math.Clamp((connections.Count - 1) / ConnectionsPerStep, 0, (int)(timeout / 2 / Step));
        var handling = new List<Connection>();
        for (var step = 0; step <= steps; step++)
        {
            for (var i = step; i < connections.Count; i += steps + 1)
            {
                if (connections[i].TryStopHandling()) Close(connections[i]);
                else handling.Add(connections[i]);
            }

            if (step < steps) await Task.Delay(Step, time).ConfigureAwait(false);
        }

        // No message can follow a close frame. A client without an answer would send its request again to another node,
        // so wait for the answers first. These connections begin no further message.
        // The handling may need answers from other nodes. The last quarter of the time is for clients that answer the
        // last close frames.
        var deadline = timeout * 3 / 4;
        for (var isOver = false; handling.Count > 0 && !isOver;)
        {
            await Task.Delay(CheckInterval, time).ConfigureAwait(false);
            isOver = time.GetElapsedTime(started) >= deadline;
            foreach (var connection in handling)
            {
                if (isOver || connection.TryStopHandling()) Close(connection);
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
