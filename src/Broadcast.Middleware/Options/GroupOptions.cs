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
    /// <remarks>The history is a bounded cache in memory. Also store important messages in a database.</remarks>
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
    /// True if the group keeps the newest message of each <see cref="Message.Key"/>. A connection that joins receives
    /// these messages first, from the oldest to the newest, and then every later message. So a page can show all
    /// current values, such as prices, from the start. A message with <see cref="Message.RemoveKey"/> removes the
    /// retained message of its key. Transient messages do not change the retained messages. Default: false.
    /// </summary>
    /// <remarks>
    /// <para>
    /// A publish throws an <see cref="InvalidOperationException"/> if the message would exceed
    /// <see cref="MaxRetainedKeys"/> or <see cref="MaxRetainedBytes"/>. The group then drops the message, and keeps
    /// its other messages.
    /// </para>
    /// <para>
    /// With a history, the connection receives the replay after the retained values, and receives no message twice.
    /// A connection that recovers with <see cref="Replay.After"/> receives only the messages that it has missed. With
    /// <see cref="Replay.None"/>, a connection receives no retained values.
    /// </para>
    /// <para>
    /// If the retained messages have more than 16 KiB, joins within a short time share one copy of these messages. A
    /// connection may then receive an older message of a key and, directly afterwards, every newer message of the
    /// group.
    /// </para>
    /// </remarks>
    public bool RetainLatestPerKey { get; set; }

    /// <summary>
    /// The maximum number of keys for <see cref="RetainLatestPerKey"/>. Default: 10,000. Range: 1 to 1,000,000.
    /// </summary>
    public int MaxRetainedKeys { get; set; } = 10_000;

    /// <summary>
    /// The maximum total size of the messages for <see cref="RetainLatestPerKey"/>, in bytes. The size of a message
    /// includes its frame, its key, its tags, its excluded connections and 32 additional bytes. Without a backplane,
    /// each tag and each excluded connection counts two bytes for each character, and 32 additional bytes. With a
    /// backplane, the size also includes the other properties of the message. Default: 1,048,576. Range: 1,024 to
    /// 67,108,864.
    /// </summary>
    public int MaxRetainedBytes { get; set; } = 1024 * 1024;

    /// <summary>
    /// How long an empty group without new messages keeps the messages of <see cref="RetainLatestPerKey"/>.
    /// <see cref="Timeout.InfiniteTimeSpan"/> means that only <see cref="BroadcastOptions.MaxEmptyGroups"/> limits the
    /// time. Default: 1 day. Range: 1 second to 30 days, or <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan RetainedAge { get; set; } = TimeSpan.FromDays(1);

    /// <summary>
    /// Selects what the server does with a slow member. Null means the value of the member's URL: see
    /// <see cref="BroadcastEndpointOptions.SlowConsumer"/>. Default: null.
    /// </summary>
    public SlowConsumer? SlowConsumer { get; set; }
}
