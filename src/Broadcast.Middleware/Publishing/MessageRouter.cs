using System.Net.WebSockets;
using Broadcast.Middleware.Connections;

namespace Broadcast.Middleware.Publishing;

/// <summary>
/// Delivers messages and commands to groups, users and connections. <see cref="LocalRouter"/> reaches only this node.
/// With a backplane, the cluster router also reaches the other nodes.
/// </summary>
abstract class MessageRouter
{
    /// <summary>Publishes a valid message. Without a cluster, the call completes synchronously.</summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public abstract ValueTask<PublishResult> PublishAsync(
        Message message, Recipients recipients, CancellationToken cancellationToken);

    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public abstract ValueTask<JoinResult> JoinAsync(
        string connectionId,
        string group,
        Replay replay,
        SubscriptionFilter? filter,
        CancellationToken cancellationToken);

    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public abstract ValueTask<bool> LeaveAsync(string connectionId, string group, CancellationToken cancellationToken);

    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public abstract ValueTask<bool> CloseAsync(
        string connectionId, WebSocketCloseStatus status, string? reason, CancellationToken cancellationToken);

    /// <summary>See <see cref="ConnectionManager.TryExtendAuthentication"/>.</summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public abstract ValueTask<bool> ExtendAuthenticationAsync(
        AuthenticationExtension extension, CancellationToken cancellationToken);

    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public abstract ValueTask<bool> EndAuthenticationAsync(string connectionId, CancellationToken cancellationToken);
}
