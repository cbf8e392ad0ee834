namespace Broadcast.Middleware.Redis.Storage;

/// <summary>How much of each group Redis keeps for nodes that have missed messages.</summary>
/// <param name="Messages">The number of messages.</param>
/// <param name="Bytes">The number of bytes. Each message counts 32 bytes more than its payload.</param>
/// <param name="Age">The age of a message.</param>
readonly record struct RepairWindow(int Messages, int Bytes, TimeSpan Age)
{
    /// <summary>
    /// Returns how long Redis keeps the stream of a group after the last message. Null means forever.
    /// </summary>
    public TimeSpan? GetRetention(GroupOptions? history)
    {
        if (history is not { HistoryMessages: > 0 }) return Age;
        if (history.HistoryAge == Timeout.InfiniteTimeSpan) return null;
        return history.HistoryAge > Age ? history.HistoryAge : Age;
    }
}
