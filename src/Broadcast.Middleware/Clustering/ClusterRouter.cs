using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Text;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Messages;
using Broadcast.Middleware.Publishing;

namespace Broadcast.Middleware.Clustering;

/// <summary>
/// Delivers messages and commands on all nodes. A message to a group goes to the backplane. The backplane numbers the
/// message and delivers it to every node with members of the group, including this node. Each of these nodes appends
/// the message to its own log.
/// </summary>
/// <param name="local">Delivers messages and commands on this node.</param>
/// <param name="remote">Sends messages and requests to the connections of other nodes.</param>
/// <param name="backplane">The backplane.</param>
/// <param name="directory">Provides the settings of the groups.</param>
/// <param name="time">The time provider.</param>
/// <param name="metrics">Counts published messages.</param>
/// <param name="logger">The logger.</param>
/// <param name="getTraceParent">See <see cref="BroadcastTracing.TraceParent"/>.</param>
sealed class ClusterRouter(
    LocalRouter local,
    RemoteConnections remote,
    IBackplane backplane,
    GroupDirectory directory,
    TimeProvider time,
    BroadcastMetrics metrics,
    BroadcastLogger logger,
    Func<string?> getTraceParent) : MessageRouter
{
    // The number of messages that only this node has received since the cluster last received a message.
    long _localMessages;

    public override async ValueTask<PublishResult> PublishAsync(
        Message message, Recipients recipients, CancellationToken cancellationToken)
    {
        var result = await RouteAsync(message, recipients, cancellationToken);
        if (!result.IsDuplicate) metrics.Published();
        return result;
    }

    ValueTask<PublishResult> RouteAsync(Message message, Recipients recipients, CancellationToken cancellationToken) =>
        recipients.Kind switch
        {
            RecipientsKind.Everyone => PublishToGroupAsync(GroupName.Everyone, message, recipients, cancellationToken),
            RecipientsKind.Group => PublishToGroupAsync(recipients.Name!, message, recipients, cancellationToken),
            RecipientsKind.Groups => PublishToGroupsAsync(message, recipients, cancellationToken),
            _ => SendToConnectionsAsync(message, recipients, cancellationToken),
        };

    public override async ValueTask<JoinResult> JoinAsync(
        string connectionId,
        string group,
        Replay replay,
        SubscriptionFilter? filter,
        CancellationToken cancellationToken)
    {
        if (local.Has(connectionId))
            return await local.JoinAsync(connectionId, group, replay, filter, cancellationToken);
        if (filter is { HasDelegate: true })
        {
            throw new ArgumentException(
                "The connection is not on this node, and a filter with a delegate cannot travel to another node. " +
                $"Use a tag filter, or call {nameof(JoinAsync)} in a connect filter or a message filter.",
                nameof(filter));
        }

        return await remote.JoinAsync(connectionId, group, replay, filter, cancellationToken);
    }

    public override ValueTask<bool> LeaveAsync(
        string connectionId, string group, CancellationToken cancellationToken) =>
        local.Has(connectionId)
            ? local.LeaveAsync(connectionId, group, cancellationToken)
            : remote.LeaveAsync(connectionId, group, cancellationToken);

    public override ValueTask<bool> CloseAsync(
        string connectionId, WebSocketCloseStatus status, string? reason, CancellationToken cancellationToken) =>
        local.Has(connectionId)
            ? local.CloseAsync(connectionId, status, reason, cancellationToken)
            : remote.CloseAsync(connectionId, status, reason, cancellationToken);

    public override ValueTask<bool> ExtendAuthenticationAsync(
        AuthenticationExtension extension, CancellationToken cancellationToken) =>
        local.Has(extension.ConnectionId)
            ? local.ExtendAuthenticationAsync(extension, cancellationToken)
            : remote.ExtendAuthenticationAsync(extension, cancellationToken);

    public override ValueTask<bool> EndAuthenticationAsync(
        string connectionId, CancellationToken cancellationToken) =>
        local.Has(connectionId)
            ? local.EndAuthenticationAsync(connectionId, cancellationToken)
            : remote.EndAuthenticationAsync(connectionId, cancellationToken);

    async ValueTask<PublishResult> PublishToGroupAsync(
        string name, Message message, Recipients recipients, CancellationToken cancellationToken)
    {
        try
        {
            var bytes = Encode(message, recipients);
            var (position, isDuplicate) = await PublishToBackplaneAsync(name, message, bytes, cancellationToken);
            if (isDuplicate) return new(position, 0) { IsDuplicate = true };
            OnPublished();
            return new(position, local.CountMembers(name, recipients.ExcludedConnections));
        }
        catch (BackplaneException exception) when (MayDeliverLocally(message, exception))
        {
            return DeliverLocally(new(null, local.SendToMembers([name], message, recipients)), exception);
        }
    }

    async ValueTask<PublishResult> PublishToGroupsAsync(
        Message message, Recipients recipients, CancellationToken cancellationToken)
    {
        var names = recipients.Names;
        // A member of more than one group receives the message once. The copy ID links the copies.
        var bytes = Encode(message, recipients, names.Count > 1 ? CreateCopyId(message, names) : 0);
        // Publish to every group, even if one publish fails immediately.
        var publishes = names
            .Select(async name => await PublishToBackplaneAsync(name, message, bytes, cancellationToken))
            .ToArray();
        try
        {
            var results = await Task.WhenAll(publishes);
            OnPublished();
            var fresh = names.Where((_, index) => !results[index].IsDuplicate);
            return new(null, fresh.Sum(name => local.CountMembers(name, recipients.ExcludedConnections)))
            {
                IsDuplicate = names.Count > 0 && Array.TrueForAll(results, static result => result.IsDuplicate),
            };
        }
        catch (BackplaneException exception) when (publishes.All(publish => IsForThisNode(publish, message)))
        {
            return DeliverLocally(new(null, local.SendToMembers(names, message, recipients)), exception);
        }

        // If the cluster has received the message for only some groups, the caller gets the exception of the other
        // groups.
        static bool IsForThisNode(Task publish, Message message) =>
            publish.Exception?.InnerException is BackplaneException exception && MayDeliverLocally(message, exception);
    }

    /// <summary>
    /// Publishes a message to one group of the cluster. The position is null for a transient message.
    /// <c>IsDuplicate</c> is true if an earlier publish to the group had the same ID.
    /// </summary>
    async ValueTask<(Position? Position, bool IsDuplicate)> PublishToBackplaneAsync(
        string name, Message message, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        if (message.IsTransient)
        {
            await backplane.PublishTransientAsync(name, bytes, cancellationToken);
            return default;
        }

        var settings = directory.GetSettings(name);
        RetainedKey? key = null;
        if (settings.Retained is not null && message.Key is { } keyName) key = new(keyName, message.RemoveKey);
        if (message.Id is not { } id)
            return (await backplane.PublishAsync(name, bytes, settings.Kept, key, cancellationToken), false);
        return await backplane.PublishOnceAsync(name, id, local.IdWindow, bytes, settings.Kept, key, cancellationToken);
    }

    async ValueTask<PublishResult> SendToConnectionsAsync(
        Message message, Recipients recipients, CancellationToken cancellationToken)
    {
        if (recipients.Kind == RecipientsKind.User && message.Id is { } userMessageId)
            return await SendToUserOnceAsync(userMessageId, message, recipients, cancellationToken);
        PublishedIds.Entry? entry = null;
        var result = message.Id is { } id
            ? local.SendToConnectionsOnce(id, message, recipients, null, out entry)
            : local.SendToConnections(message, recipients);
        if (result.IsDuplicate && entry!.IsComplete) return result with { RemoteNodes = 0 };
        // A connection is on exactly one node, but a user may have connections on several nodes.
        if (recipients.Kind != RecipientsKind.User && result.LocalRecipients > 0)
        {
            entry?.Complete(null);
            return result with { RemoteNodes = 0 };
        }

        try
        {
            var bytes = Encode(message, recipients);
            var nodes = await remote.SendAsync(recipients, bytes, message.IsTransient, cancellationToken);
            OnPublished();
            entry?.Complete(null);
            // A repeated publish also sends the message, because the earlier publish may not have reached all nodes.
            // Each node drops a message that the node has already received.
            return result with { RemoteNodes = nodes, IsDuplicate = result.IsDuplicate && nodes == 0 };
        }
        catch (BackplaneException exception) when (MayDeliverLocally(message, exception))
        {
            return DeliverLocally(result, exception);
        }
    }

    /// <summary>
    /// Sends a message with an ID to the connections that the user had at the first publish with this ID. A device that
    /// moves to another node gets a new connection. So a repeated publish does not reach the device a second time.
    /// </summary>
    async ValueTask<PublishResult> SendToUserOnceAsync(
        string id, Message message, Recipients recipients, CancellationToken cancellationToken)
    {
        var userId = recipients.Name!;
        var duplicate = new PublishResult(null, 0) { RemoteNodes = 0, IsDuplicate = true };
        if (local.IsPublished(recipients, id)) return duplicate;
        var connections = await remote.ReserveAsync(
            userId, id, local.IdWindow, local.FindConnectionIds(recipients), cancellationToken);
        if (connections is null) return duplicate;
        var result = local.SendToConnectionsOnce(
            id, message, recipients, connections.On(remote.Node), out var entry);
        var nodes = await remote.SendAsync(userId, connections, Encode(message, recipients), cancellationToken);
        OnPublished();
        await remote.CompleteAsync(userId, id, local.IdWindow, cancellationToken);
        entry.Complete(null);
        // A repeated publish also sends the message, because the earlier publish may not have reached all nodes. Each
        // node drops a message that the node has already received.
        return result with { RemoteNodes = nodes, IsDuplicate = result.IsDuplicate && nodes == 0 };
    }

    /// <summary>
    /// True if the router may deliver a message on this node only, because the cluster is unreachable. A publish with
    /// an ID fails instead. The caller can then repeat the publish, and the repeated publish reaches each client once.
    /// </summary>
    static bool MayDeliverLocally(Message message, BackplaneException exception) =>
        exception.DeliverLocally && message.Id is null;

    /// <summary>
    /// Reports in the metrics, the log and the result that the other nodes did not receive the message.
    /// </summary>
    PublishResult DeliverLocally(PublishResult result, BackplaneException exception)
    {
        metrics.PublishedLocally();
        if (Interlocked.Increment(ref _localMessages) == 1) logger.DeliversLocally(exception.Message);
        return result with { RemoteNodes = 0, IsLocalOnly = true };
    }

    void OnPublished()
    {
        if (Volatile.Read(ref _localMessages) == 0) return;
        var count = Interlocked.Exchange(ref _localMessages, 0);
        if (count > 0) logger.DeliversToAllNodes(count);
    }

    /// <summary>
    /// Creates the ID that links the copies of a message. The first publish of a message with an ID may have reached
    /// only some of the groups. So this method returns the same copy ID for a repeated publish.
    /// </summary>
    static long CreateCopyId(Message message, IReadOnlyCollection<string> names)
    {
        if (message.Id is not { } id) return Random.Shared.NextInt64(1, long.MaxValue);
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{id}\n{string.Join('\n', names)}"));
        return Math.Max(1, BitConverter.ToInt64(hash) & long.MaxValue);
    }

    ReadOnlyMemory<byte> Encode(Message message, Recipients recipients, long copyId = 0) =>
        new ClusterMessage(message, recipients.Excluded, time.GetUtcNow(), copyId)
        {
            TraceParent = getTraceParent(),
        }
        .Encode();
}
