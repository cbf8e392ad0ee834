using System.Runtime.InteropServices;

namespace Broadcast.Middleware.Presence;

/// <summary>
/// Sends the members of one group to the clients of a presence endpoint. All clients of this node share one watch.
/// </summary>
/// <param name="group">The name of the watched group.</param>
/// <param name="presence">Provides the members.</param>
/// <param name="writer">Creates the JSON of a member.</param>
/// <param name="time">The time provider.</param>
#pragma warning disable CA1001 // A token source without a timer needs no disposal.
sealed class PresenceFeed(string group, GroupPresence presence, MemberWriter writer, TimeProvider time)
#pragma warning restore CA1001
    : MemberFeed("""{"type":"snapshot","members":[""", """{"type":"update","members":[""", isReady: false)
{
    // The time that the feed waits after each message. The changes during this time become one message. So clients that
    // join and leave constantly cannot flood the clients of the endpoint.
    static readonly TimeSpan MinInterval = TimeSpan.FromMilliseconds(50);

    readonly CancellationTokenSource _stopped = new();

    /// <summary>Watches the group until <see cref="Stop"/>.</summary>
    /// <returns>The error that ended the watch. Null after <see cref="Stop"/>.</returns>
    public async Task<Exception?> RunAsync()
    {
        try
        {
            var watching = presence.WatchBatchesAsync(group, _stopped.Token);
            await foreach (var changes in watching.ConfigureAwait(false))
            {
                Apply(changes);
                await Task.Delay(MinInterval, time, _stopped.Token).ConfigureAwait(false);
            }

            return null;
        }
        catch (OperationCanceledException) when (_stopped.IsCancellationRequested)
        {
            return null;
        }
        catch (Exception exception)
        {
            return exception;
        }
    }

    public void Stop() => _stopped.Cancel();

    void Apply(IReadOnlyList<PresenceChange> changes)
    {
        // A list of changes contains each member only once.
        var items = new List<ItemChange>(changes.Count);
        foreach (var change in changes)
        {
            if (CreateItem(change) is { } item) items.Add(item);
        }

        Apply(CollectionsMarshal.AsSpan(items));
    }

    /// <summary>Creates the item for a change. Returns null if subscribers need no message about the change.</summary>
    ItemChange? CreateItem(PresenceChange change)
    {
        var id = change.Member.ConnectionId;
        var json = change.Kind == PresenceChangeKind.Left ? default : writer.Write(change.Member);
        if (json.IsEmpty) return Has(id) ? new(id, MemberWriter.WriteLeft(id), IsRemoved: true) : null;
        return Has(id, json.Span) ? null : new(id, json, IsRemoved: false);
    }
}
