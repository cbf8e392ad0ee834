using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>Opens readers of groups for code of the app.</summary>
/// <param name="pumps">The pumps that run the readers.</param>
/// <param name="groups">Provides the groups.</param>
/// <param name="directory">Tracks the groups of this node.</param>
/// <param name="clock">Assigns sequence numbers to messages.</param>
/// <param name="maxBacklog">See <see cref="BroadcastOptions.MaxBacklogBytes"/>.</param>
/// <param name="metrics">Counts readers and dropped messages.</param>
/// <param name="applicationStopping">
/// Canceled when the app shuts down. Readers then end. A request that reads a group would otherwise delay the shutdown.
/// </param>
sealed class GroupReaders(
    Pump[] pumps,
    IGroupProvider groups,
    GroupDirectory directory,
    SequenceClock clock,
    int maxBacklog,
    BroadcastMetrics metrics,
    CancellationToken applicationStopping)
{
    uint _next;

    /// <summary>Opens a reader. Returns null if the app shuts down.</summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    /// <exception cref="OperationCanceledException">The token is canceled.</exception>
    public async ValueTask<GroupReader?> OpenAsync(
        string name, Replay replay, SlowConsumer whenSlow, CancellationToken cancellationToken)
    {
        if (applicationStopping.IsCancellationRequested) return null;
        // A reader with Conflate needs logs with additional capacity.
        directory.Adapt(whenSlow);
        var pump = pumps[Interlocked.Increment(ref _next) % pumps.Length];
        var logReader = new LogReader(clock, null, whenSlow) { PrefersOwnSetting = true };
        var reader = new GroupReader(pump, logReader, whenSlow, maxBacklog, groups, metrics);
        while (true)
        {
            var group = await groups.AcquireAsync(name, cancellationToken).ConfigureAwait(false);
            var isJoined = false;
            try
            {
                isJoined = reader.TryJoin(group, replay);
                if (!isJoined) continue; // Another thread has removed the group.
                directory.OnJoined(group);
                reader.EndWhen(cancellationToken, applicationStopping);
                return reader;
            }
            finally
            {
                if (!isJoined) groups.Release(group, group.IsEmpty);
            }
        }
    }
}
