namespace Broadcast.Middleware.Hosting;

/// <summary>
/// The ranges of all options. The validators use these ranges. A test compares the ranges with the documentation of the
/// options.
/// </summary>
static class OptionRanges
{
    const long OneKiB = 1L << 10, OneMiB = 1L << 20, OneGiB = 1L << 30, OneTiB = 1L << 40;

    static readonly TimeSpan OneSecond = TimeSpan.FromSeconds(1);
    static readonly TimeSpan OneHour = TimeSpan.FromHours(1);
    static readonly TimeSpan OneDay = TimeSpan.FromDays(1);

    // The following options apply to broadcasts and endpoints.
    public static readonly NumberRange MaxMessageBytes = new(nameof(MaxMessageBytes), 1, OneGiB);
    public static readonly NumberRange MaxSmallFragments = new(nameof(MaxSmallFragments), 1, OneMiB);
    public static readonly NumberRange MaxMessagesPerSecond = new(nameof(MaxMessagesPerSecond), 1, 1_000_000);
    public static readonly NumberRange MaxMessageBurst = new(nameof(MaxMessageBurst), 1, 1_000_000);
    public static readonly TimeRange FirstMessageTimeout = new(nameof(FirstMessageTimeout), OneSecond, OneDay, true);
    public static readonly NumberRange CompressMessagesAbove = new(nameof(CompressMessagesAbove), 0, OneGiB);
    public static readonly TimeRange SendTimeout = new(nameof(SendTimeout), OneSecond, OneDay, true);
    public static readonly TimeRange KeepAliveInterval = new(nameof(KeepAliveInterval), OneSecond, OneDay, true);
    public static readonly TimeRange KeepAliveTimeout = new(nameof(KeepAliveTimeout), OneSecond, OneDay, true);
    public static readonly TimeRange CloseTimeout = new(nameof(CloseTimeout), TimeSpan.FromMilliseconds(10), OneHour);
    public static readonly TimeRange HeartbeatInterval = new(nameof(HeartbeatInterval), OneSecond, OneDay);
    public static readonly TimeRange EventStreamRetryDelay =
        new(nameof(EventStreamRetryDelay), TimeSpan.FromMilliseconds(100), OneHour);

    // The following options apply only to broadcasts.
    public static readonly NumberRange MaxConnections = new(nameof(MaxConnections), 1, int.MaxValue);
    public static readonly NumberRange MaxConnectionsPerUser = new(nameof(MaxConnectionsPerUser), 1, int.MaxValue);
    public static readonly NumberRange MaxConnectionsPerAddress =
        new(nameof(MaxConnectionsPerAddress), 1, int.MaxValue);
    public static readonly NumberRange MaxBacklogBytes = new(nameof(MaxBacklogBytes), OneKiB, OneGiB);
    public static readonly NumberRange MaxGroupsPerConnection = new(nameof(MaxGroupsPerConnection), 1, 65_536);
    public static readonly NumberRange MaxEmptyGroups = new(nameof(MaxEmptyGroups), 0, 1_000_000);
    public static readonly NumberRange MaxPresenceStateBytes = new(nameof(MaxPresenceStateBytes), 0, 65_536);
    public static readonly TimeRange MessageIdWindow = new(nameof(MessageIdWindow), OneSecond, OneDay);
    public static readonly NumberRange MaxMessageIds = new(nameof(MaxMessageIds), 1, 10_000_000);
    public static readonly NumberRange MaxDisconnectedSessions = new(nameof(MaxDisconnectedSessions), 0, 10_000_000);
    public static readonly NumberRange MaxUnacknowledgedBytes = new(nameof(MaxUnacknowledgedBytes), OneKiB, OneGiB);
    public static readonly NumberRange MaxUnacknowledgedMessages =
        new(nameof(MaxUnacknowledgedMessages), 1, 10_000_000);
    public static readonly NumberRange MaxTotalUnacknowledgedBytes =
        new(nameof(MaxTotalUnacknowledgedBytes), OneKiB, OneTiB);
    public static readonly TimeRange RecoveryTimeout = new(nameof(RecoveryTimeout), TimeSpan.Zero, OneHour);
    public static readonly TimeRange RevalidationInterval = new(nameof(RevalidationInterval), OneSecond, OneDay, true);
    public static readonly TimeRange DrainTimeout = new(nameof(DrainTimeout), TimeSpan.Zero, OneHour);

    // The following options apply to groups.
    public static readonly NumberRange HistoryMessages = new(nameof(HistoryMessages), 0, 10_000_000);
    public static readonly NumberRange HistoryBytes = new(nameof(HistoryBytes), OneKiB, OneGiB);
    public static readonly TimeRange HistoryAge = new(nameof(HistoryAge), OneSecond, TimeSpan.FromDays(30), true);
    public static readonly NumberRange ReplayOnJoin = new(nameof(ReplayOnJoin), 0, 10_000_000);
    public static readonly NumberRange MaxRetainedKeys = new(nameof(MaxRetainedKeys), 1, 1_000_000);
    public static readonly NumberRange MaxRetainedBytes = new(nameof(MaxRetainedBytes), OneKiB, 64 * OneMiB);
    public static readonly TimeRange RetainedAge = new(nameof(RetainedAge), OneSecond, TimeSpan.FromDays(30), true);
}
