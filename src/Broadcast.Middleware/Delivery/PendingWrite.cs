using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// A write that did not complete at once. A writer creates one object and reuses the object for all such writes.
/// </summary>
sealed class PendingWrite
{
    readonly Action _onCompleted;

    bool _isCompleted; // The thread that completes the write sets this field and then posts the writer.

    public PendingWrite(ConnectionWriter writer) => _onCompleted = () =>
    {
        Volatile.Write(ref _isCompleted, true);
        writer.Post();
    };

    /// <summary>True from <see cref="Begin"/> to <see cref="End"/>.</summary>
    public bool IsActive { get; private set; }

    public bool IsCompleted => Volatile.Read(ref _isCompleted);

    public ConfiguredValueTaskAwaitable.ConfiguredValueTaskAwaiter Write { get; private set; }

    /// <summary>The start of the write: see <see cref="Heartbeat.Now"/>.</summary>
    public long StartedAt { get; private set; }

    /// <summary>The time of the last heartbeat that noticed progress, or the start of the write.</summary>
    public long ProgressedAt { get; set; }

    /// <summary>The value of <see cref="Sink.Acknowledged"/> at the last progress.</summary>
    public long Acknowledged { get; set; }

    /// <summary>
    /// The array from the array pool that the write sends. Null if the write sends other bytes, for example bytes that
    /// belong to a log.
    /// </summary>
    public byte[]? Buffer { get; set; }

    public void Begin(ConfiguredValueTaskAwaitable.ConfiguredValueTaskAwaiter write, long now)
    {
        (Write, StartedAt, ProgressedAt, _isCompleted, IsActive) = (write, now, now, false, true);
        write.UnsafeOnCompleted(_onCompleted);
    }

    public void End() => IsActive = false;
}
