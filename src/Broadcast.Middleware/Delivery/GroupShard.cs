using System.Runtime.InteropServices;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The cursors of one group on one pump. The group posts the shard when the group has new messages. The shard then
/// visits its cursors in a pass. In between, the pump runs other items, so that a large group does not delay small
/// groups.
/// </summary>
sealed class GroupShard(Pump pump) : PumpItem, ICursorSet
{
    const int CursorsPerPrefetch = 8;

    readonly List<Cursor> _cursors = [];
    TransientCursors? _transientCursors; // Null until a member reads transient messages.
    TrackedCursors? _tracked; // The lock of the group guards writes to this field. Null without tracked cursors.
    int _next;
    int _prefetched; // The compiler could remove the reads of Prefetch if no field stored their result.
    bool _inPass;

    public Pump Pump => pump;

    /// <summary>The number of connections. The lock of the group guards writes to this property.</summary>
    public int Members { get; private set; }

    /// <summary>
    /// The number of connections and readers inside the app. The lock of the group guards this property.
    /// </summary>
    public int Subscribers { get; private set; }

    public ICursorSet ForTransientLog => _transientCursors ??= new(this);

    public void CountJoinLocked(IGroupSubscriber subscriber)
    {
        Subscribers++;
        if (subscriber.IsConnection) Members++;
    }

    public void CountLeaveLocked(IGroupSubscriber subscriber)
    {
        Subscribers--;
        if (subscriber.IsConnection) Members--;
    }

    public void Add(Cursor cursor)
    {
        cursor.SetIndex = _cursors.Count;
        _cursors.Add(cursor);
    }

    public void TrackLocked(Cursor cursor) => (_tracked ??= new()).Add(cursor);

    public void ActivateAnnounced() => pump.ActivateAnnounced();

    /// <summary>
    /// Announces the next message to the tracked cursors. Call this method before the message gets its sequence number.
    /// </summary>
    public void AnnounceLocked()
    {
        if (_tracked is { } tracked) pump.Announce(tracked);
    }

    public void Untrack(Cursor cursor)
    {
        if (cursor.IsTracked) _tracked!.Remove(cursor);
    }

    public void Remove(Cursor cursor)
    {
        Untrack(cursor);
        var hole = cursor.SetIndex;
        // The last cursor of the list fills the hole. During a pass, the cursors before _next have had their turn. If
        // the hole is before _next, first move the last of these cursors into the hole. Otherwise, the last cursor of
        // the list could move before _next and miss its turn.
        if (hole < _next)
        {
            _next--;
            Move(_next, hole);
            hole = _next;
        }

        if (hole < _cursors.Count - 1) Move(_cursors.Count - 1, hole);
        _cursors.RemoveAt(_cursors.Count - 1);
    }

    /// <remarks>
    /// The queue of the pump may contain the shard twice: once to continue a pass and once for messages that arrived
    /// during the pass. The order of these two items does not matter.
    /// </remarks>
    public override void Run()
    {
        if (!_inPass)
        {
            ClearPosted();
            _inPass = true;
            if (_tracked is not null) pump.ActivateAnnounced();
        }

        // A connection that fails during its turn removes its cursors. So read _next and the count again in each
        // iteration.
        var prefetched = 0;
        while (pump.TurnsLeft > 0 && _next < _cursors.Count)
        {
            if (prefetched == 0) prefetched = PrefetchNext();
            prefetched--;
            var cursor = _cursors[_next++];
            // The group also posts its shards without a new message, for example after the log has ended an idle block.
            // In this case, no announcement has activated the tracked cursors. So activate the cursor here.
            if (cursor is { IsTracked: true, IsActive: false }) cursor.Subscriber.OnAnnounced(cursor);
            cursor.Subscriber.OnNewMessages();
            pump.TurnsLeft--;
        }

        if (_next < _cursors.Count)
        {
            pump.Continue(this);
            return;
        }

        _next = 0;
        _inPass = false;
    }

    /// <summary>Loads the state of the next connections into the processor's cache.</summary>
    /// <returns>The number of these connections.</returns>
    /// <remarks>
    /// With many connections, their state does not fit into the cache. In a turn, each object references the next
    /// object, so the processor would wait for the memory several times in sequence. Here the reads of different
    /// connections do not depend on each other, so the processor waits for all reads at once. With 100,000 connections,
    /// a delivery then needs half the time (benchmarks/Broadcast.Benchmarks, ManyGroupsBenchmark).
    /// </remarks>
    int PrefetchNext()
    {
        var next = CollectionsMarshal.AsSpan(_cursors)[_next..];
        if (next.Length > CursorsPerPrefetch) next = next[..CursorsPerPrefetch];
        foreach (var cursor in next) _prefetched += cursor.Subscriber.Prefetch();
        return next.Length;
    }

    void Move(int from, int to)
    {
        var cursor = _cursors[from];
        _cursors[to] = cursor;
        cursor.SetIndex = to;
    }
}
