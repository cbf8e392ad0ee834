using System.Collections.Concurrent;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Moves messages from logs to connections. Each processor has one pump, and each connection belongs to one pump.
/// Invariant: a pump runs on one thread at a time. Therefore the output state of a connection needs no lock.
/// </summary>
/// <param name="schedule">Runs the work item soon on another thread.</param>
sealed class Pump(Action<IThreadPoolWorkItem> schedule) : IThreadPoolWorkItem
{
    const int Idle = 0, Running = 1, Signaled = 2;

    // The pump returns its thread to the thread pool after this number of turns. Otherwise, busy pumps would delay
    // reads from sockets, and published messages would arrive too late to share a write with earlier messages.
    // docs/internals/performance.md shows the effect.
    const int TurnsPerRun = 16;

    readonly ConcurrentQueue<PumpItem> _queue = new();
    TrackedCursors? _announced; // The first item of a list. Any thread may add items.
    RunBuffer? _runBuffer;
    int _state = Idle;
    int _connections;
    long _delivered;

    /// <summary>The number of connections of this pump.</summary>
    public int Connections => Volatile.Read(ref _connections);

    /// <summary>
    /// The buffer that joins the runs of a connection with subscription filters. Read this property on the thread of
    /// the pump.
    /// </summary>
    public RunBuffer RunBuffer => _runBuffer ??= new();

    /// <summary>
    /// The number of turns before the pump returns its thread: at least 1 when an item starts to run. An item that
    /// gives turns to several connections reduces the number. Use this property on the thread of the pump.
    /// </summary>
    public int TurnsLeft { get; set; }

    /// <summary>The number of messages that this pump has written to connections.</summary>
    public long Delivered => Volatile.Read(ref _delivered);

    public static Pump[] CreatePerProcessor()
    {
        var pumps = new Pump[Environment.ProcessorCount];
        for (var i = 0; i < pumps.Length; i++)
            pumps[i] = new Pump(static pump => ThreadPool.UnsafeQueueUserWorkItem(pump, preferLocal: false));
        return pumps;
    }

    public void AddConnection() => Interlocked.Increment(ref _connections);

    public void RemoveConnection() => Interlocked.Decrement(ref _connections);

    /// <summary>Counts written messages. Call this method on the thread of the pump.</summary>
    public void CountDelivered(int messages) => Volatile.Write(ref _delivered, _delivered + messages);

    /// <summary>Runs an item soon. Any thread may call this method.</summary>
    public void Post(PumpItem item)
    {
        if (!item.TryMarkPosted()) return;
        Continue(item);
        if (Interlocked.Exchange(ref _state, Signaled) == Idle) schedule(this);
    }

    /// <summary>Runs an item again after the other items. Call this method on the thread of the pump.</summary>
    public void Continue(PumpItem item) => _queue.Enqueue(item);

    /// <summary>
    /// Announces a message of a log before the message gets its sequence number. Any thread may call this method.
    /// </summary>
    public void Announce(TrackedCursors cursors)
    {
        if (!cursors.TryMarkAnnounced()) return;
        TrackedCursors? first;
        // After the exchange, the pump may take the list and change Next. So do not read Next again.
        do cursors.Next = first = Volatile.Read(ref _announced);
        while (Interlocked.CompareExchange(ref _announced, cursors, first) != first);
    }

    /// <summary>
    /// Activates the cursors of all logs with announced messages. Call this method on the thread of the pump.
    /// </summary>
    public void ActivateAnnounced()
    {
        if (Volatile.Read(ref _announced) is null) return;
        for (var cursors = Interlocked.Exchange(ref _announced, null); cursors is not null;)
        {
            var next = cursors.Next;
            cursors.Next = null;
            cursors.Activate();
            cursors = next;
        }
    }

    void IThreadPoolWorkItem.Execute()
    {
        ObserveSignals();
        TurnsLeft = TurnsPerRun;
        while (TurnsLeft > 0)
        {
            if (!_queue.TryDequeue(out var item))
            {
                if (Interlocked.CompareExchange(ref _state, Idle, Running) == Running) return;
                ObserveSignals();
                continue;
            }

            item.Run();
            TurnsLeft--;
        }

        // The pump is not idle, so no other thread schedules the pump.
        schedule(this);

        // The exchange must be a full fence. With a plain write, the pump could find the queue empty before other
        // threads see the write. The write could then erase a signal that another thread set in the meantime.
        void ObserveSignals() => Interlocked.Exchange(ref _state, Running);
    }
}
