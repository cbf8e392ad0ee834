namespace Broadcast.Middleware;

/// <summary>Options of <see cref="IBroadcaster.ReadAsync"/>.</summary>
public sealed class ReadOptions
{
    /// <summary>
    /// The part of the group's history to read first. Default: the <see cref="GroupOptions.ReplayOnJoin"/> newest
    /// messages. <see cref="Replay.After"/> continues after a position.
    /// </summary>
    public Replay Replay { get; set; }

    /// <summary>
    /// Selects what happens when the reader misses messages. A reader misses messages if it is more than
    /// <see cref="BroadcastOptions.MaxBacklogBytes"/> behind, or if the group no longer has all messages after the
    /// position in <see cref="Replay"/>. Default: <see cref="SlowConsumer.Disconnect"/>, for every group. The settings
    /// of the group and of its URL do not apply to readers.
    /// </summary>
    /// <remarks>
    /// With <see cref="SlowConsumer.Disconnect"/>, the enumeration throws a <see cref="MessagesMissedException"/>. With
    /// <see cref="SlowConsumer.SkipToLatest"/>, the reader receives a gap (<see cref="ReceivedMessage.IsGap"/>), and
    /// continues with the newest message. With <see cref="SlowConsumer.Conflate"/>, a reader that is behind skips
    /// messages that a newer message with the same key replaces. The skipped messages cause no gap. If the reader is
    /// still too far behind, the enumeration throws a <see cref="MessagesMissedException"/>. After a failed recovery, a
    /// reader with <c>SkipToLatest</c> or <c>Conflate</c> receives a gap first.
    /// </remarks>
    public SlowConsumer SlowConsumer { get; set; }
}
