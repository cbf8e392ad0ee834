namespace Broadcast.Middleware;

/// <summary>How a log treats its messages and its readers.</summary>
/// <param name="Capacity">How many bytes are kept for readers that are behind.</param>
/// <param name="WhenSlow">What becomes of a reader that is further behind.</param>
/// <param name="History">What is kept for those who join later; null for nothing.</param>
/// <param name="MaxRetained">How many bytes are kept for readers that may have to be sent them again.</param>
/// <param name="Budget">How many in all logs together.</param>
sealed record LogSettings(long Capacity, SlowConsumer WhenSlow, GroupOptions? History = null, long MaxRetained = 0, RetentionBudget? Budget = null)
{
    public static LogSettings For(BroadcastOptions options, RetentionBudget budget, GroupOptions? group = null)
    {
        var whenSlow = group?.SlowConsumer ?? options.SlowConsumer;
        var history = group is { HistoryMessages: > 0 } ? group : null;
        // Where readers that lag are compacted, the log keeps their messages until their pump has done it. A reader that is given the
        // history may fall as far behind on its way as any other.
        var capacity = ((long)options.MaxBacklogBytes * (whenSlow == SlowConsumer.Conflate ? 2 : 1)) + (history?.HistoryBytes ?? 0);
        return new(capacity, whenSlow, history, capacity + options.MaxUnacknowledgedBytes, budget);
    }
}
