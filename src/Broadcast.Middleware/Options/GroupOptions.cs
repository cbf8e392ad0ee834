namespace Broadcast.Middleware;

/// <summary>
/// How a group, or all groups whose names begin alike, differ from the others: see
/// <see cref="BroadcastOptions.Groups"/>.
/// </summary>
public sealed class GroupOptions
{
    /// <summary>
    /// How many messages the group keeps for those who join later or come back, also when its last member has left.
    /// Default 0: none. Range 0 to 10,000,000.
    /// </summary>
    /// <remarks>A history is a bounded cache in memory, and never the only place where something is stored.</remarks>
    public int HistoryMessages { get; set; }

    /// <summary>
    /// How many bytes of messages the history holds, each with its frame and 32 bytes. Default 1,048,576 (1 MiB). Range
    /// 1,024 to 1,073,741,824 (1 GiB).
    /// </summary>
    public int HistoryBytes { get; set; } = 1024 * 1024;

    /// <summary>
    /// How long a message stays in the history. Default 5 minutes. Range 1 second to 30 days;
    /// <see cref="Timeout.InfiniteTimeSpan"/> for as long as the other limits allow.
    /// </summary>
    public TimeSpan HistoryAge { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// How many of the newest messages of the history a connection is given when it joins, unless it asks for something
    /// else. Default 0. Range 0 to 10,000,000.
    /// </summary>
    public int ReplayOnJoin { get; set; }

    /// <summary>
    /// What becomes of a member that falls too far behind; null, the default, for what the broadcast has.
    /// </summary>
    public SlowConsumer? SlowConsumer { get; set; }
}
