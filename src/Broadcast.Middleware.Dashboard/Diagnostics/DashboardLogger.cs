using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Dashboard.Diagnostics;

/// <summary>The log messages of the dashboard.</summary>
sealed partial class DashboardLogger(ILogger logger)
{
    readonly ILogger _logger = logger;

    [LoggerMessage(1, LogLevel.Warning,
        "The dashboard at {Pattern} answers with status 404. {Problem} To open the dashboard to users, add an " +
        "authorization policy: MapBroadcastDashboard(\"{Pattern}\").RequireAuthorization(…). To open it without a " +
        "policy, use the environment Development and a browser on this computer. The server logs each reason only " +
        "once.")]
    public partial void Hidden(string pattern, string problem);

    [LoggerMessage(2, LogLevel.Information,
        "Dashboard: {Viewer} published a message of {Bytes} bytes to {Recipients}.")]
    public partial void Published(string viewer, int bytes, RecipientsKind recipients);

    [LoggerMessage(3, LogLevel.Information,
        "Dashboard: {Viewer} closed connection {ConnectionId} with close code {CloseCode}.")]
    public partial void Closed(string viewer, string connectionId, int closeCode);

    [LoggerMessage(4, LogLevel.Error,
        "The dashboard failed to measure the broadcast and tries again in one second. Fix the method in the " +
        "stack trace.")]
    public partial void SamplingFailed(Exception exception);

    [LoggerMessage(5, LogLevel.Error,
        "The dashboard failed to answer a request. Fix the method in the stack trace.")]
    public partial void RequestFailed(Exception exception);

    [LoggerMessage(6, LogLevel.Error,
        "The backplane threw an exception from SetMember, which must not throw. The dashboards of other nodes may " +
        "not list this node. Fix the IBackplane implementation.")]
    public partial void AnnounceFailed(Exception exception);

    [LoggerMessage(7, LogLevel.Warning,
        "The dashboard at {Pattern} answers with status {StatusCode} to {Kind} user, because its authorization " +
        "policy does not allow this user. Sign in as an allowed user. Or change the policy of " +
        "MapBroadcastDashboard(\"{Pattern}\").RequireAuthorization({Policy}), or the claims of the user. The server " +
        "logs each status and kind of user only once.")]
    public partial void Refused(string pattern, int statusCode, string kind, string policy);
}
