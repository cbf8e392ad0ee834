using System.Diagnostics;
using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Publishing;

/// <summary>Delivers messages and commands on this node.</summary>
/// <param name="groups">The groups of this node.</param>
/// <param name="connections">The connections of this node.</param>
/// <param name="registry">Finds the connections of a user and the members of a group.</param>
/// <param name="ids">The IDs of published messages.</param>
/// <param name="idWindow">See <see cref="BroadcastOptions.MessageIdWindow"/>.</param>
/// <param name="metrics">Counts published messages.</param>
sealed class LocalRouter(
    GroupDirectory groups,
    ConnectionManager connections,
    IConnectionRegistry registry,
    PublishedIds ids,
    TimeSpan idWindow,
    BroadcastMetrics metrics)
    : MessageRouter
{
    // A thread that publishes a message with an ID holds this lock until it has claimed the ID and appended the
    // message. So two concurrent calls with the same ID cannot each claim a part of the groups. A repeated call returns
    // after the first call has taken effect. A thread holds the lock only for a short time, because an append never
    // waits. Invariant: a thread that holds this lock does not call the registry.
    readonly Lock _idGate = new();

    /// <summary>See <see cref="BroadcastOptions.MessageIdWindow"/>.</summary>
    public TimeSpan IdWindow => idWindow;

    public override ValueTask<PublishResult> PublishAsync(
        Message message, Recipients recipients, CancellationToken cancellationToken)
    {
        var result = message.Id is { } id ? PublishOnce(id, message, recipients) : Publish(message, recipients);
        if (!result.IsDuplicate) metrics.Published();
        return new(result);
    }

    PublishResult Publish(Message message, Recipients recipients)
    {
        var excluded = recipients.ExcludedConnections;
        return recipients.Kind switch
        {
            RecipientsKind.Everyone => PublishToGroup(GroupName.Everyone, message, excluded),
            RecipientsKind.Group => PublishToGroup(recipients.Name!, message, excluded),
            RecipientsKind.Groups => groups.Publish(recipients.Names, message, EntryMetadata.Create(message, excluded)),
            _ => SendToConnections(message, recipients),
        };
    }

    PublishResult PublishOnce(string id, Message message, Recipients recipients)
    {
        if (recipients.Kind is not (RecipientsKind.User or RecipientsKind.Connection))
            return PublishToGroupsOnce(id, message, recipients);
        var result = SendToConnectionsOnce(id, message, recipients, null, out var entry);
        if (!result.IsDuplicate) entry.Complete(null);
        return result;
    }

    /// <summary>Publishes a message only to the groups in which no earlier publish has used the ID.</summary>
    PublishResult PublishToGroupsOnce(string id, Message message, Recipients recipients)
    {
        IReadOnlyCollection<string> names = recipients.Kind == RecipientsKind.Everyone ? [""] : recipients.Names;
        var kind = KindOf(recipients);
        lock (_idGate)
        {
            var claims = ClaimLocked(kind, names, id, out var duplicate);
            if (claims.Count == 0 && names.Count > 0)
                return new(names.Count == 1 ? duplicate?.Position : null, 0) { IsDuplicate = true };
            try
            {
                var fresh = recipients;
                if (claims.Count < names.Count)
                {
                    fresh = Recipients.Groups([.. claims.Select(static claim => claim.Name)]);
                    if (recipients.ExcludedConnections is { } excluded) fresh = fresh.Except(excluded);
                }

                var result = Publish(message, fresh);
                foreach (var (_, entry) in claims) entry.Complete(result.Position);
                return result;
            }
            catch
            {
                foreach (var (name, entry) in claims) ids.Release(kind, name, id, entry);
                throw;
            }
        }
    }

    /// <summary>
    /// Claims the message ID in each group in which no earlier publish has used the ID, and returns these claims.
    /// <paramref name="duplicate"/> is the entry of an earlier publish with this ID to one of the groups, or null.
    /// </summary>
    List<(string Name, PublishedIds.Entry Entry)> ClaimLocked(
        RecipientsKind kind, IReadOnlyCollection<string> names, string id, out PublishedIds.Entry? duplicate)
    {
        Debug.Assert(_idGate.IsHeldByCurrentThread);
        duplicate = null;
        var claims = new List<(string, PublishedIds.Entry)>();
        foreach (var name in names)
        {
            if (ids.TryClaim(kind, name, id, idWindow, out var entry)) claims.Add((name, entry));
            else duplicate = entry;
        }

        return claims;
    }

    static RecipientsKind KindOf(Recipients recipients) =>
        recipients.Kind == RecipientsKind.Groups ? RecipientsKind.Group : recipients.Kind;

    public override ValueTask<JoinResult> JoinAsync(
        string connectionId,
        string group,
        Replay replay,
        SubscriptionFilter? filter,
        CancellationToken cancellationToken) =>
        connections.Find(connectionId)?.JoinAsync(group, replay, filter, cancellationToken) ?? default;

    public override ValueTask<bool> LeaveAsync(
        string connectionId, string group, CancellationToken cancellationToken) =>
        new(connections.Find(connectionId)?.Leave(group) is true);

    public override ValueTask<bool> CloseAsync(
        string connectionId, WebSocketCloseStatus status, string? reason, CancellationToken cancellationToken)
    {
        if (connections.Find(connectionId) is not { } connection) return new(false);
        connection.Close(EndReason.ClosedByApp, status, reason);
        return new(true);
    }

    public override ValueTask<bool> ExtendAuthenticationAsync(
        AuthenticationExtension extension, CancellationToken cancellationToken) =>
        new(connections.Find(extension.ConnectionId) is { } connection
            && connections.TryExtendAuthentication(connection, extension));

    public override ValueTask<bool> EndAuthenticationAsync(string connectionId, CancellationToken cancellationToken)
    {
        if (connections.Find(connectionId) is not { } connection) return new(false);
        connection.ExpireAuthentication();
        return new(true);
    }

    /// <summary>True if the connection is on this node.</summary>
    public bool Has(string connectionId) => connections.Find(connectionId) is not null;

    /// <summary>Returns the IDs of the user's connections on this node.</summary>
    public IEnumerable<string> FindConnectionIds(Recipients recipients) =>
        FindConnections(recipients).Select(static connection => connection.Id);

    /// <summary>
    /// Returns true if this node knows that all nodes have received a message with this ID to the same recipients.
    /// </summary>
    public bool IsPublished(Recipients recipients, string id) =>
        ids.IsComplete(recipients.Kind, recipients.Name!, id);

    /// <summary>Sends a message to one connection or to the connections of a user, on this node.</summary>
    public PublishResult SendToConnections(Message message, Recipients recipients)
    {
        var metadata = EntryMetadata.CreatePrivate(message, recipients.ExcludedConnections);
        return new(null, Send(message, metadata, FindConnections(recipients)));
    }

    /// <summary>
    /// Sends a message like <see cref="SendToConnections"/>, unless this node has already sent a message with the ID.
    /// </summary>
    /// <param name="id">The ID.</param>
    /// <param name="message">The message.</param>
    /// <param name="recipients">The connection or the user.</param>
    /// <param name="connectionIds">
    /// The connections of the user that receive the message. Null for all connections of the user.
    /// </param>
    /// <param name="entry">The entry of the ID. The caller completes the entry when all nodes have the message.</param>
    public PublishResult SendToConnectionsOnce(
        string id,
        Message message,
        Recipients recipients,
        IReadOnlyCollection<string>? connectionIds,
        out PublishedIds.Entry entry)
    {
        // The registry can throw an exception. So claim the ID after the search. Otherwise, a repeated publish during
        // the search would be a duplicate of a publish that then fails.
        var found = FindConnections(recipients);
        if (connectionIds is not null)
        {
            var allowed = connectionIds.ToHashSet(StringComparer.Ordinal);
            found = Array.FindAll(found, connection => allowed.Contains(connection.Id));
        }

        var metadata = EntryMetadata.CreatePrivate(message, recipients.ExcludedConnections);
        lock (_idGate)
        {
            if (!ids.TryClaim(recipients.Kind, recipients.Name!, id, idWindow, out entry))
                return new(null, 0) { IsDuplicate = true };
            try
            {
                return new(null, Send(message, metadata, found));
            }
            catch (Exception)
            {
                ids.Release(recipients.Kind, recipients.Name!, id, entry);
                throw;
            }
        }
    }

    /// <summary>
    /// Sends a message to the private log of each group member on this node, not to the logs of the groups. A member of
    /// more than one group receives the message once. A member whose filter rejects the message does not receive the
    /// message. Returns the number of recipients.
    /// </summary>
    public int SendToMembers(IReadOnlyCollection<string> groupNames, Message message, Recipients recipients)
    {
        Debug.Assert(message.Id is null);
        var found = new HashSet<Connection>();
        var count = 0;
        foreach (var name in groupNames)
        {
            // Some protocols send the name of the group with the message. A private log has no group name, so the
            // metadata contains the name.
            var group = name == GroupName.Everyone ? null : name;
            var metadata = EntryMetadata.CreatePrivate(message, recipients.ExcludedConnections, group);
            var members = FindMembers(name).Where(member => member.Accepts(name, message));
            count += Send(message, metadata, members.Where(found.Add));
        }

        return count;
    }

    /// <summary>Returns the number of group members on this node, without the excluded connections.</summary>
    public int CountMembers(string group, ExcludedConnections? excluded) =>
        Math.Max(0, (groups.Find(group)?.Count ?? 0) - CountExcluded(group, excluded));

    PublishResult PublishToGroup(string name, Message message, ExcludedConnections? excluded) =>
        groups.Publish(name, message, EntryMetadata.Create(message, excluded), CountExcluded(name, excluded));

    int CountExcluded(string group, ExcludedConnections? excluded)
    {
        if (excluded is null) return 0;
        var count = 0;
        foreach (var id in excluded.Ids)
        {
            if (connections.Find(id) is { } connection && connection.IsIn(group)) count++;
        }

        return count;
    }

    /// <summary>
    /// Sends a message to each connection that the metadata does not exclude. Returns the number of these connections.
    /// </summary>
    static int Send(Message message, EntryMetadata? metadata, IEnumerable<Connection> recipients)
    {
        var count = 0;
        foreach (var connection in recipients)
        {
            if (metadata?.Excludes(connection.Id) is true) continue;
            connection.Send(message, metadata);
            count++;
        }

        return count;
    }

    // The registry does not list the members of the group of all connections. A connection whose connect filters still
    // run is not a member.
    IEnumerable<Connection> FindMembers(string group) => group == GroupName.Everyone
        ? connections.All.Where(static connection => connection.IsIn(GroupName.Everyone))
        : registry.GetGroupMembers(group).Select(member => connections.Find(member.Id)).OfType<Connection>();

    /// <summary>
    /// Finds the recipients on this node. A custom registry may return objects of another class, so this method uses
    /// only the IDs of the objects.
    /// </summary>
    /// <remarks>
    /// The registry can throw an exception. So this method finds all recipients before the first recipient gets the
    /// message. Otherwise, a repeated publish would reach some recipients twice.
    /// </remarks>
    Connection[] FindConnections(Recipients recipients)
    {
        if (recipients.Kind == RecipientsKind.Connection)
            return connections.Find(recipients.Name!) is { } connection ? [connection] : [];
        var ids = registry.GetUserConnections(recipients.Name!).Select(static connection => connection.Id);
        return [.. ids.Select(connections.Find).OfType<Connection>()];
    }
}
