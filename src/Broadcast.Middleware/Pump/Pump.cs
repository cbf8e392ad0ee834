using System.Collections.Concurrent;

namespace Broadcast.Middleware;

/// <summary>
/// Moves messages from logs to connections. There is one per processor, each with connections of its own, and a pump never runs on
/// two threads at once: that is why the outgoing state of a connection needs no lock.
/// </summary>
/// <param name="schedule">Runs the work item soon, on some other thread.</param>
sealed class Pump(Action<IThreadPoolWorkItem> schedule) : IThreadPoolWorkItem
{
    const int Idle = 0, Running = 1, Signaled = 2;

    // A turn ends after so many items, so that pumps at full load leave the thread pool room for reading sockets.
    const int ItemsPerTurn = 64;

    readonly ConcurrentQueue<PumpItem> _queue = new();
    int _state = Idle;
    int _connections;
    long _delivered;

    /// <summary>How many connections it serves.</summary>
    public int Connections => Volatile.Read(ref _connections);

    /// <summary>How many messages it has handed to sinks.</summary>
    public long Delivered => Volatile.Read(ref _delivered);

    public static Pump[] CreatePerProcessor()
    {
        var pumps = new Pump[Environment.ProcessorCount];
        for (var i = 0; i < pumps.Length; i++) pumps[i] = new Pump(static pump => ThreadPool.UnsafeQueueUserWorkItem(pump, preferLocal: false));
        return pumps;
    }

    public void AddConnection() => Interlocked.Increment(ref _connections);

    public void RemoveConnection() => Interlocked.Decrement(ref _connections);

    /// <summary>On the pump's thread.</summary>
    public void CountDelivered(int messages) => Volatile.Write(ref _delivered, _delivered + messages);

    /// <summary>From any thread: look at this item soon.</summary>
    public void Post(PumpItem item)
    {
        if (!item.TryMarkPosted()) return;
        Continue(item);
        if (Interlocked.Exchange(ref _state, Signaled) == Idle) schedule(this);
    }

    /// <summary>On the pump's thread: the item has more to do, after the others had their turn.</summary>
    public void Continue(PumpItem item) => _queue.Enqueue(item);

    void IThreadPoolWorkItem.Execute()
    {
        ObserveSignals();
        for (var i = 0; i < ItemsPerTurn; i++)
        {
            if (!_queue.TryDequeue(out var item))
            {
                if (Interlocked.CompareExchange(ref _state, Idle, Running) == Running) return;
                ObserveSignals();
                continue;
            }

            item.Run(this);
        }

        // Still not idle, so nobody else schedules it.
        schedule(this);

        // A full fence: with a plain write the queue could be found empty before the write is seen, and the write could then
        // erase a signal given in between.
        void ObserveSignals() => Interlocked.Exchange(ref _state, Running);
    }
}
