using System.Collections.Concurrent;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The periodic timer of a broadcast. At each beat, every writer gets a turn, and groups without new messages free
/// memory.
/// </summary>
/// <remarks>
/// A writer gets its turn through the group of all connections. Until the connection has joined this group, the
/// heartbeat posts the writer directly. One shared timer saves memory: a timer for each connection would use
/// 240 bytes.
/// </remarks>
sealed class Heartbeat : IDisposable
{
    static readonly TimeSpan MaxInterval = TimeSpan.FromSeconds(5);
    static readonly TimeSpan MinInterval = TimeSpan.FromMilliseconds(250);

    readonly GroupDirectory _groups;
    readonly TimeProvider _time;
    readonly long _started;
    readonly ITimer _timer;
    readonly Lock _gate = new();
    readonly ConcurrentDictionary<ConnectionWriter, byte> _joiningWriters = [];
    TimeSpan _interval = MaxInterval;
    int _beat;

    /// <param name="groups">The groups of this node.</param>
    /// <param name="revalidationInterval">See <see cref="BroadcastOptions.RevalidationInterval"/>.</param>
    /// <param name="settings">The settings of endpoints without options of their own.</param>
    /// <param name="time">The time provider.</param>
    public Heartbeat(
        GroupDirectory groups, TimeSpan revalidationInterval, EndpointSettings settings, TimeProvider time)
    {
        _groups = groups;
        _time = time;
        _started = time.GetTimestamp();
        _timer = BackgroundWork.CreateTimer(
            time, static heartbeat => ((Heartbeat)heartbeat!).OnBeat(), this, _interval, _interval);
        Shorten([revalidationInterval]);
        Adapt(settings);
    }

    /// <summary>The number of the newest beat.</summary>
    public int Beat => Volatile.Read(ref _beat);

    /// <summary>Returns the number of beats in a time span, rounded up. The result is at least 1.</summary>
    public int CountBeats(TimeSpan time) => (int)Math.Max(1, Math.Ceiling(time / _interval));

    /// <summary>The number of milliseconds since the creation of the heartbeat.</summary>
    /// <remarks>
    /// The time since the start of the computer would be a much larger number. A double stores a larger number with
    /// less precision, so the result could be one millisecond too small. The heartbeat would then notice a timeout one
    /// beat late.
    /// </remarks>
    public long Now => (long)_time.GetElapsedTime(_started).TotalMilliseconds;

    /// <summary>The number of writers that the heartbeat posts directly, because a connect filter still runs.</summary>
    public int JoiningWriters => _joiningWriters.Count;

    /// <summary>Gives the writer a turn at each beat, until the call of <see cref="Remove"/>.</summary>
    public void Add(ConnectionWriter writer) => _joiningWriters.TryAdd(writer, 0);

    /// <summary>
    /// Stops the direct posts of a writer, because the connect filters of its connection have completed.
    /// </summary>
    public void Remove(ConnectionWriter writer) => _joiningWriters.TryRemove(writer, out _);

    /// <summary>Shortens the interval to at most a quarter of each timeout of an endpoint.</summary>
    public void Adapt(EndpointSettings settings)
    {
        Shorten([settings.KeepAliveInterval, settings.KeepAliveTimeout]);
        Shorten([settings.SendTimeout, settings.FirstMessageTimeout]);
        if (settings.HasHeartbeatMessages) Shorten([settings.HeartbeatInterval]);
    }

    public void Dispose() => _timer.Dispose();

    void OnBeat()
    {
        Interlocked.Increment(ref _beat);
        _groups.Find(GroupName.Everyone)?.Wake();
        foreach (var (writer, _) in _joiningWriters) writer.Post();
        _groups.Trim();
    }

    /// <summary>
    /// Shortens the interval to at most a quarter of each timeout, but not below <see cref="MinInterval"/>. The
    /// heartbeat then notices a timeout at most one interval late.
    /// </summary>
    void Shorten(ReadOnlySpan<TimeSpan> timeouts)
    {
        lock (_gate)
        {
            var interval = _interval;
            foreach (var timeout in timeouts)
            {
                if (timeout != Timeout.InfiniteTimeSpan && timeout / 4 < interval) interval = timeout / 4;
            }

            if (interval < MinInterval) interval = MinInterval;
            if (interval == _interval) return;
            _interval = interval;
            _timer.Change(interval, interval);
        }
    }
}
