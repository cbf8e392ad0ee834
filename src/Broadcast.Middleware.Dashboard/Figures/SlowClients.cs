using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;

namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>Finds the slow clients of a broadcast.</summary>
/// <param name="connections">See <see cref="ConnectionManager.All"/>.</param>
/// <param name="getTime">See <see cref="Heartbeat.Now"/>.</param>
sealed class SlowClients(IEnumerable<Connection> connections, Func<long> getTime)
{
    /// <summary>A client is slow if a write has been pending for at least this time.</summary>
    const int MinWaitInMilliseconds = 500;

    const int MaxListed = 20;

    /// <summary>
    /// Returns the number of slow clients, and the slowest clients. The call reads one field of each connection, and
    /// asks only the pumps of the listed clients.
    /// </summary>
    public async Task<(int Count, IReadOnlyList<SlowClient> Listed)> FindAsync()
    {
        var (now, count) = (getTime(), 0);
        var slowest = new PriorityQueue<Connection, long>();
        foreach (var connection in connections)
        {
            if (connection.Writer.WritingSince is not { } since || now - since < MinWaitInMilliseconds) continue;
            count++;
            var waiting = now - since;
            // The queue removes the client with the shortest wait.
            if (slowest.Count < MaxListed) slowest.Enqueue(connection, waiting);
            else slowest.EnqueueDequeue(connection, waiting);
        }

        var listed = slowest.UnorderedItems.OrderByDescending(static item => item.Priority)
            .Select(static item => DescribeAsync(item.Element, item.Priority));
        return (count, await Task.WhenAll(listed).ConfigureAwait(false));
    }

    static async Task<SlowClient> DescribeAsync(Connection connection, long waiting) => new()
    {
        Id = connection.Id,
        User = Excerpt.FromName(connection.UserId),
        Address = connection.RemoteAddress?.ToString(),
        HomeGroup = connection.HomeGroup,
        Waiting = waiting,
        Backlog = await connection.Writer.MeasureBacklogAsync().ConfigureAwait(false),
    };
}
