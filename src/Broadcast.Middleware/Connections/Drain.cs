using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>
/// Says goodbye to all connections of an app that ends, with 1001, spread so that not all of their clients connect to another
/// node at the same moment, and cuts off what is left when the time is up. The host waits for it, because it waits for the requests.
/// </summary>
static class Drain
{
    // A few clients are let go at once; more, at this pace, unless the window is too short for it.
    const int PerStep = 50;
    static readonly TimeSpan Step = TimeSpan.FromMilliseconds(50);

    // For requests that are under way; other nodes take some time to answer.
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);
    static readonly TimeSpan Look = TimeSpan.FromMilliseconds(10);

    public static async Task RunAsync(IReadOnlyList<Connection> connections, TimeSpan window, TimeProvider time)
    {
        var started = time.GetTimestamp();
        // Half of the window to say goodbye, the other half for the last ones to answer.
        var steps = Math.Clamp((connections.Count - 1) / PerStep, 0, (int)(window / 2 / Step));
        var answering = new List<Connection>();
        for (var step = 0; step <= steps; step++)
        {
            for (var i = step; i < connections.Count; i += steps + 1)
            {
                if (connections[i].IsAnswering) answering.Add(connections[i]);
                else SayGoodbye(connections[i]);
            }

            if (step < steps) await Task.Delay(Step, time).ConfigureAwait(false);
        }

        // Nothing follows a close frame: a client that does not hear that its request has taken effect sends it again, to another node.
        var patience = time.GetElapsedTime(started) + (window / 4 < Patience ? window / 4 : Patience);
        for (var isOver = false; answering.Count > 0 && !isOver;)
        {
            await Task.Delay(Look, time).ConfigureAwait(false);
            isOver = time.GetElapsedTime(started) >= patience;
            foreach (var connection in answering.Where(connection => isOver || !connection.IsAnswering)) SayGoodbye(connection);
            answering.RemoveAll(static connection => connection.Writer.ClosingStatus is not null);
        }

        var left = window - time.GetElapsedTime(started);
        if (left > TimeSpan.Zero) await Task.Delay(left, time).ConfigureAwait(false);
        foreach (var connection in connections) connection.Abort(EndReason.ShuttingDown);
    }

    public static void SayGoodbye(Connection connection) =>
        connection.Close(EndReason.ShuttingDown, WebSocketCloseStatus.EndpointUnavailable, "The server is shutting down.");
}
