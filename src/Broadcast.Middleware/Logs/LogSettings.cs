namespace Broadcast.Middleware.Logs;

/// <summary>The limits of a log.</summary>
/// <param name="Capacity">
/// The maximum number of bytes that the log keeps for slow readers, without <paramref name="Reserve"/>.
/// </param>
/// <param name="WhenSlow">
/// Selects what the server does with a slow reader. Null if each reader has its own setting.
/// </param>
/// <param name="History">The limits of the history. Null for no history.</param>
/// <param name="MaxRetained">
/// The maximum number of bytes that the log keeps for readers that have not acknowledged these bytes.
/// </param>
/// <param name="Budget">The limit for all logs of the broadcast together. Null for no common limit.</param>
/// <param name="Reserve">
/// Additional capacity for readers whose own setting is <see cref="SlowConsumer.Conflate"/>. Null for no additional
/// capacity.
/// </param>
/// <param name="Retained">The limits of the retained values. Null if the log does not retain messages.</param>
sealed record LogSettings(
    long Capacity,
    SlowConsumer? WhenSlow,
    GroupOptions? History = null,
    long MaxRetained = 0,
    RetentionBudget? Budget = null,
    ConflationReserve? Reserve = null,
    GroupOptions? Retained = null)
{
    /// <summary>
    /// The limits of the messages that the group keeps for later members. Null if the group keeps no messages.
    /// </summary>
    public GroupOptions? Kept => History ?? Retained;

    /// <summary>The current maximum number of bytes that the log keeps for slow readers.</summary>
    public long CurrentCapacity => Capacity + (Reserve?.Bytes ?? 0);

    /// <summary>The current maximum number of bytes that the log keeps for unacknowledged messages.</summary>
    public long CurrentMaxRetained => MaxRetained + (Reserve?.Bytes ?? 0);

    public static LogSettings Create(
        BroadcastOptions options, RetentionBudget budget, ConflationReserve reserve, GroupOptions? group = null)
    {
        var whenSlow = group?.SlowConsumer;
        var history = group is { HistoryMessages: > 0 } ? group : null;
        var retained = group is { RetainLatestPerKey: true } ? group : null;
        // A log with Conflate keeps the messages of a slow reader until the pump has compacted these messages. So the
        // log needs twice the maximum backlog. If the group has no setting, the reserve provides the second half.
        var backlog = (long)options.MaxBacklogBytes * (whenSlow == SlowConsumer.Conflate ? 2 : 1);
        // A new reader starts in the history or at a snapshot of the retained values, and may then fall behind by a
        // full backlog. So add the larger of the two distances between this start and the end of the log.
        var snapshotAge = retained is null ? 0 : RetainedValues.MaxSnapshotAge(retained);
        var capacity = backlog + Math.Max(history?.HistoryBytes ?? 0, snapshotAge);
        var maxRetained = capacity + options.MaxUnacknowledgedBytes;
        return new(capacity, whenSlow, history, maxRetained, budget, whenSlow is null ? reserve : null, retained);
    }
}
