namespace Broadcast.Middleware.Redis.Storage;

/// <summary>The limits of the messages that Redis keeps in each group for nodes that have missed messages.</summary>
/// <param name="Messages">The maximum number of messages.</param>
/// <param name="Bytes">The maximum number of bytes. The limit counts the payload of each message plus 32 bytes.</param>
/// <param name="Age">The maximum age of a message.</param>
readonly record struct RepairWindow(int Messages, int Bytes, TimeSpan Age)
{
    /// <summary>
    /// The time for which Redis keeps the state of a group after the stream of the group has expired. If the group has
    /// no messages, Redis keeps the state for <see cref="Age"/> plus this time. <see cref="Scripts.Subscribe"/> uses
    /// the same value.
    /// </summary>
    public static readonly TimeSpan ExtraStateRetention = TimeSpan.FromMinutes(1);

    /// <summary>
    /// Returns the time for which Redis keeps the stream of a group after the last message. Null means forever.
    /// </summary>
    public TimeSpan? GetRetention(GroupOptions? history)
    {
        if (history is not { HistoryMessages: > 0 }) return Age;
        if (history.HistoryAge == Timeout.InfiniteTimeSpan) return null;
        return history.HistoryAge > Age ? history.HistoryAge : Age;
    }

    /// <summary>
    /// Returns the time for which Redis keeps the state and the retained values of a group after the last message.
    /// Null means forever.
    /// </summary>
    public TimeSpan? GetStateRetention(GroupOptions? history)
    {
        var retention = GetRetention(history);
        if (history is not { RetainLatestPerKey: true }) return retention;
        if (history.RetainedAge == Timeout.InfiniteTimeSpan) return null;
        return history.RetainedAge > retention ? history.RetainedAge : retention;
    }
}
