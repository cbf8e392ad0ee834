namespace Broadcast.Middleware.Hosting;

/// <summary>
/// The valid keys of a configuration section. A test compares these keys with the properties of the option classes.
/// </summary>
static class OptionNames
{
    /// <summary>The key of the section with the options of the Redis package.</summary>
    public const string RedisSection = "Redis";

    public static readonly string[] Broadcast =
    [
        nameof(BroadcastOptions.MaxMessageBytes),
        nameof(BroadcastOptions.MaxSmallFragments),
        nameof(BroadcastOptions.MaxMessagesPerSecond),
        nameof(BroadcastOptions.MaxMessageBurst),
        nameof(BroadcastOptions.FirstMessageTimeout),
        nameof(BroadcastOptions.MaxConnections),
        nameof(BroadcastOptions.MaxConnectionsPerUser),
        nameof(BroadcastOptions.MaxConnectionsPerAddress),
        nameof(BroadcastOptions.AllowedOrigins),
        nameof(BroadcastOptions.GroupScope),
        nameof(BroadcastOptions.RawSubprotocols),
        nameof(BroadcastOptions.AllowClientFilters),
        nameof(BroadcastOptions.MaxBacklogBytes),
        nameof(BroadcastOptions.SlowConsumer),
        nameof(BroadcastOptions.Groups),
        nameof(BroadcastOptions.MaxGroupsPerConnection),
        nameof(BroadcastOptions.MaxEmptyGroups),
        nameof(BroadcastOptions.MaxPresenceStateBytes),
        nameof(BroadcastOptions.MessageIdWindow),
        nameof(BroadcastOptions.MaxMessageIds),
        nameof(BroadcastOptions.RecoveryTimeout),
        nameof(BroadcastOptions.MaxDisconnectedSessions),
        nameof(BroadcastOptions.MaxUnacknowledgedBytes),
        nameof(BroadcastOptions.MaxUnacknowledgedMessages),
        nameof(BroadcastOptions.MaxTotalUnacknowledgedBytes),
        nameof(BroadcastOptions.CompressMessagesAbove),
        nameof(BroadcastOptions.SendTimeout),
        nameof(BroadcastOptions.KeepAliveInterval),
        nameof(BroadcastOptions.KeepAliveTimeout),
        nameof(BroadcastOptions.CloseTimeout),
        nameof(BroadcastOptions.HeartbeatMessage),
        nameof(BroadcastOptions.HeartbeatInterval),
        nameof(BroadcastOptions.EventStreamRetryDelay),
        nameof(BroadcastOptions.CloseOnAuthenticationExpiration),
        nameof(BroadcastOptions.RevalidationInterval),
        nameof(BroadcastOptions.DrainTimeout),
    ];

    public static readonly string[] Group =
    [
        nameof(GroupOptions.HistoryMessages),
        nameof(GroupOptions.HistoryBytes),
        nameof(GroupOptions.HistoryAge),
        nameof(GroupOptions.ReplayOnJoin),
        nameof(GroupOptions.RetainLatestPerKey),
        nameof(GroupOptions.MaxRetainedKeys),
        nameof(GroupOptions.MaxRetainedBytes),
        nameof(GroupOptions.RetainedAge),
        nameof(GroupOptions.SlowConsumer),
    ];
}
