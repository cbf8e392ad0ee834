namespace Broadcast.Middleware.Logs;

/// <summary>The limits of a log.</summary>
/// <param name="Capacity">
/// The maximum number of bytes that the log keeps for slow readers, without <paramref name="Reserve"/>.
/// </param>
/// <param name="WhenSlow">
/// What happens to a reader that falls further behind. Null if each reader has its own setting.
/// </param>
/// <param name="History">The limits of the history. Null for no history.</param>
/// <param name="MaxRetained">
/// The maximum number of bytes that the log keeps for readers that have not acknowledged them.
/// </param>
/// <param name="Budget">The limit for all logs of the broadcast together. Null for no common limit.</param>
/// <param name="Reserve">Additional capacity for readers that conflate by their own setting. Null for none.</param>
sealed record LogSettings(
    long Capacity,
    SlowConsumer? WhenSlow,
    GroupOptions? History = null,
    long MaxRetained = 0,
    RetentionBudget? Budget = null,
    ConflationReserve? Reserve = null)
{
    /// <summary>The maximum number of bytes that the log keeps for slow readers now.</summary>
    public long CurrentCapacity => Capacity + (Reserve?.Bytes ?? 0);

    /// <summary>The maximum number of bytes that the log keeps for unacknowledged messages now.</summary>
    public long CurrentMaxRetained => MaxRetained + (Reserve?.Bytes ?? 0);

    public static LogSettings Create(
        BroadcastOptions options, RetentionBudget budget, ConflationReserve reserve, GroupOptions? group = null)
    {
        var whenSlow = group?.SlowConsumer;
        var history = group is { HistoryMessages: > 0 } ? group : null;
        // A conflating log keeps the messages of a slow reader until the pump has compacted them, so it needs twice the
        // backlog. Without a setting of the group, the reserve provides it. A reader of the history may fall behind by
        // a full backlog while it reads the history.
        var backlog = (long)options.MaxBacklogBytes * (whenSlow == SlowConsumer.Conflate ? 2 : 1);
        var capacity = backlog + (history?.HistoryBytes ?? 0);
        var maxRetained = capacity + options.MaxUnacknowledgedBytes;
        return new(capacity, whenSlow, history, maxRetained, budget, whenSlow is null ? reserve : null);
    }
}
