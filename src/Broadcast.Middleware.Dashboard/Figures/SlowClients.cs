using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;

namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>Finds the slow clients of a broadcast.</summary>
/// <param name="connections">The connections of this node.</param>
/// <param name="heartbeat">The clock of the pending writes.</param>
sealed class SlowClients(ConnectionManager connections, Heartbeat heartbeat)
{
    /// <summary>A client is slow if a write has been pending for at least this time.</summary>
    const int MinWaitInMilliseconds = 500;

    const int MaxListed = 20;

    readonly PriorityQueue<Connection, long> _slowest = new();

    /// <summary>
    /// Returns the number of slow clients, and the slowest clients. Only one call may run at a time. The call reads one
    /// field of each connection, and asks only the pumps of the listed clients.
    /// </summary>
    public async Task<(int Count, IReadOnlyList<SlowClient> Listed)> FindAsync()
    {
        var (now, count) = (heartbeat.Now, 0);
        foreach (var connection in connections.All)
        {
            if (connection.Writer.WritingSince is not { } since || now - since < MinWaitInMilliseconds) continue;
            count++;
            // The queue removes the client with the shortest wait.
            if (_slowest.Count < MaxListed) _slowest.Enqueue(connection, -since);
            else _slowest.EnqueueDequeue(connection, -since);
        }

        var listed = new List<SlowClient>(_slowest.Count);
        while (_slowest.TryDequeue(out var connection, out var start))
        {
            listed.Add(new SlowClient
            {
                Id = connection.Id,
                User = Excerpt.OfName(connection.UserId),
                Address = connection.RemoteAddress?.ToString(),
                HomeGroup = connection.HomeGroup,
                Waiting = now + start,
                Backlog = await BacklogProbe.MeasureAsync(connection.Writer).ConfigureAwait(false),
            });
        }

        listed.Reverse();
        return (count, listed);
    }
}
