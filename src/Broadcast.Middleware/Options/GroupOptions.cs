namespace Broadcast.Middleware;

/// <summary>
/// The settings of one group, or of all groups with the same prefix: see <see cref="BroadcastOptions.Groups"/>.
/// </summary>
public sealed class GroupOptions
{
    /// <summary>
    /// The maximum number of messages in the history of the group. Connections that join later or reconnect can receive
    /// these messages. The group keeps its history when the last member leaves. 0 means no history. Default: 0. Range:
    /// 0 to 10,000,000.
    /// </summary>
    /// <remarks>The history is a bounded cache in memory. Store important messages also in a database.</remarks>
    public int HistoryMessages { get; set; }

    /// <summary>
    /// The maximum size of the history, in bytes. The size of a message includes its frame and 32 additional bytes.
    /// Default: 1,048,576. Range: 1,024 to 1,073,741,824.
    /// </summary>
    public int HistoryBytes { get; set; } = 1024 * 1024;

    /// <summary>
    /// The maximum age of a message in the history. <see cref="Timeout.InfiniteTimeSpan"/> means that only the other
    /// limits apply. Default: 5 minutes. Range: 1 second to 30 days, or <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan HistoryAge { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// The number of messages from the history that a connection receives when it joins. A single join can select
    /// another part of the history: see <see cref="Replay"/>. The value must not exceed <see cref="HistoryMessages"/>.
    /// Default: 0. Range: 0 to 10,000,000.
    /// </summary>
    public int ReplayOnJoin { get; set; }

    /// <summary>
    /// Selects what the server does with a slow member. Null means the value of the member's URL: see
    /// <see cref="BroadcastEndpointOptions.SlowConsumer"/>. Default: null.
    /// </summary>
    public SlowConsumer? SlowConsumer { get; set; }
}
