namespace Broadcast.Middleware;

/// <summary>How a log treats its messages and its readers.</summary>
/// <param name="Capacity">How many bytes are kept for readers that are behind.</param>
/// <param name="WhenSlow">What becomes of a reader that is further behind.</param>
/// <param name="History">What is kept for those who join later; null for nothing.</param>
sealed record LogSettings(long Capacity, SlowConsumer WhenSlow, GroupOptions? History = null)
{
    public static LogSettings For(BroadcastOptions options, GroupOptions? group = null)
    {
        var whenSlow = group?.SlowConsumer ?? options.SlowConsumer;
        var history = group is { HistoryMessages: > 0 } ? group : null;
        // Where readers that lag are compacted, the log keeps their messages until their pump has done it. A reader that is given the
        // history may fall as far behind on its way as any other.
        var capacity = ((long)options.MaxBacklogBytes * (whenSlow == SlowConsumer.Conflate ? 2 : 1)) + (history?.HistoryBytes ?? 0);
        return new(capacity, whenSlow, history);
    }
}
