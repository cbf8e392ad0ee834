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

    public static async Task RunAsync(IReadOnlyList<Connection> connections, TimeSpan window, TimeProvider time)
    {
        var started = time.GetTimestamp();
        // Half of the window to say goodbye, the other half for the last ones to answer.
        var steps = Math.Clamp((connections.Count - 1) / PerStep, 0, (int)(window / 2 / Step));
        for (var step = 0; step <= steps; step++)
        {
            for (var i = step; i < connections.Count; i += steps + 1) SayGoodbye(connections[i]);
            if (step < steps) await Task.Delay(Step, time).ConfigureAwait(false);
        }

        var left = window - time.GetElapsedTime(started);
        if (left > TimeSpan.Zero) await Task.Delay(left, time).ConfigureAwait(false);
        foreach (var connection in connections) connection.Abort(EndReason.ShuttingDown);
    }

    public static void SayGoodbye(Connection connection) =>
        connection.Close(EndReason.ShuttingDown, WebSocketCloseStatus.EndpointUnavailable, "The server is shutting down.");
}
