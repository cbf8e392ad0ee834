using System.Collections.Concurrent;

namespace Broadcast.Middleware;

/// <summary>
/// The one timer of a broadcast. At each beat every writer gets a turn, through the group of everyone or until it is in that by
/// itself, and finds the beat changed; groups in which nothing happens give memory back.
/// </summary>
/// <remarks>A timer per connection, as the framework's WebSocket has, costs 240 bytes each.</remarks>
sealed class Heartbeat : IDisposable
{
    static readonly TimeSpan Longest = TimeSpan.FromSeconds(5);
    static readonly TimeSpan Shortest = TimeSpan.FromMilliseconds(250);

    readonly Groups _groups;
    readonly TimeProvider _time;
    readonly long _started;
    readonly ITimer _timer;
    readonly ConcurrentDictionary<ConnectionWriter, byte> _outside = [];
    int _beat;

    public Heartbeat(Groups groups, BroadcastOptions options, TimeProvider time)
    {
        _groups = groups;
        _time = time;
        _started = time.GetTimestamp();
        KeepAliveInterval = Milliseconds(options.KeepAliveInterval);
        KeepAliveTimeout = Milliseconds(options.KeepAliveTimeout);
        SendTimeout = Milliseconds(options.SendTimeout);
        // A fourth of the shortest time that is measured in beats is how late it may be noticed.
        var shortest = Math.Min(Math.Min(KeepAliveInterval, KeepAliveTimeout), Math.Min(SendTimeout, Milliseconds(options.FirstMessageTimeout)));
        shortest = Math.Min(shortest, Milliseconds(options.RevalidationInterval));
        var interval = TimeSpan.FromMilliseconds(shortest / 4.0);
        interval = interval < Shortest ? Shortest : interval > Longest ? Longest : interval;
        _timer = time.CreateTimer(static heartbeat => ((Heartbeat)heartbeat!).OnBeat(), this, interval, interval);
    }

    /// <summary>Changes with each beat.</summary>
    public int Beat => Volatile.Read(ref _beat);

    /// <summary>Milliseconds since the heartbeat was created.</summary>
    /// <remarks>A time since the clock's zero loses precision, and can then be a millisecond short.</remarks>
    public long Now => (long)_time.GetElapsedTime(_started).TotalMilliseconds;

    /// <summary>In milliseconds; <see cref="int.MaxValue"/> for never.</summary>
    public int KeepAliveInterval { get; }

    /// <summary>In milliseconds; <see cref="int.MaxValue"/> for never.</summary>
    public int KeepAliveTimeout { get; }

    /// <summary>In milliseconds; <see cref="int.MaxValue"/> for never.</summary>
    public int SendTimeout { get; }

    /// <summary>How many writers get their turns by themselves.</summary>
    public int Outside => _outside.Count;

    /// <summary>Gives the writer its turns until it is in the group of everyone.</summary>
    public void Begin(ConnectionWriter writer) => _outside.TryAdd(writer, 0);

    /// <summary>It is in that group now, or has ended.</summary>
    public void End(ConnectionWriter writer) => _outside.TryRemove(writer, out _);

    public void Dispose() => _timer.Dispose();

    void OnBeat()
    {
        Interlocked.Increment(ref _beat);
        _groups.Find(Groups.Everyone)?.Wake();
        foreach (var (writer, _) in _outside) writer.Pump.Post(writer);
        _groups.Rest();
    }

    static int Milliseconds(TimeSpan time) => time == Timeout.InfiniteTimeSpan ? int.MaxValue : (int)time.TotalMilliseconds;
}
