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
/// <param name="registry">Finds the connections of a user.</param>
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
    /// <summary>See <see cref="BroadcastOptions.MessageIdWindow"/>.</summary>
    public TimeSpan IdWindow => idWindow;

    public override ValueTask<PublishResult> PublishAsync(
        Message message, Recipients recipients, CancellationToken cancellationToken)
    {
        if (message.Id is { } id) return new(PublishOnce(id, message, recipients));
        metrics.Published();
        return new(Publish(message, recipients));
    }

    PublishResult Publish(Message message, Recipients recipients)
    {
        var excluded = recipients.ExcludedConnections;
        return recipients.Kind switch
        {
            RecipientsKind.All => PublishToGroup(GroupName.Everyone, message, excluded),
            RecipientsKind.Group => PublishToGroup(recipients.Name!, message, excluded),
            RecipientsKind.Groups => groups.Publish(recipients.Names, message, EntryMetadata.Create(message, excluded)),
            _ => SendToConnections(message, recipients),
        };
    }

    /// <summary>Publishes a message only for recipients without an earlier publish that has the same ID.</summary>
    PublishResult PublishOnce(string id, Message message, Recipients recipients)
    {
        var claims = Claim(id, recipients, out var duplicate);
        if (claims.Count == 0) return new(duplicate?.Position, 0) { IsDuplicate = true };
        var isAll = claims.Count == Math.Max(1, recipients.Names.Count);
        try
        {
            metrics.Published();
            var fresh = isAll ? recipients : Recipients.Groups([.. claims.Select(static claim => claim.Name)]);
            if (!isAll && recipients.ExcludedConnections is { } excluded) fresh = fresh.Except(excluded);
            var result = Publish(message, fresh);
            foreach (var claim in claims) claim.Entry.Complete(result.Position);
            return result;
        }
        catch
        {
            foreach (var claim in claims) ids.Release(KindOf(recipients), claim.Name, id);
            throw;
        }
    }

    /// <summary>
    /// Claims an ID for the recipients. For several groups, the claim of each group is separate. Returns the successful
    /// claims. <paramref name="duplicate"/> is the earlier publish with this ID. For several groups, it is always null.
    /// </summary>
    List<(string Name, PublishedIds.Entry Entry)> Claim(
        string id, Recipients recipients, out PublishedIds.Entry? duplicate)
    {
        duplicate = null;
        var claims = new List<(string, PublishedIds.Entry)>();
        IReadOnlyCollection<string> names = recipients.Kind == RecipientsKind.All ? [""] : recipients.Names;
        foreach (var name in names)
        {
            if (ids.TryClaim(KindOf(recipients), name, id, idWindow, out var entry)) claims.Add((name, entry));
            else duplicate = entry;
        }

        if (names.Count > 1) duplicate = null;
        return claims;
    }

    static RecipientsKind KindOf(Recipients recipients) =>
        recipients.Kind == RecipientsKind.Groups ? RecipientsKind.Group : recipients.Kind;

    public override ValueTask<JoinResult> JoinAsync(
        string connectionId, string group, Replay replay, CancellationToken cancellationToken) =>
        connections.Find(connectionId)?.JoinAsync(group, replay, cancellationToken) ?? default;

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

    /// <summary>True if the connection is on this node.</summary>
    public bool Has(string connectionId) => connections.Find(connectionId) is not null;

    /// <summary>Sends a message to one connection or to the connections of a user, on this node.</summary>
    public PublishResult SendToConnections(Message message, Recipients recipients)
    {
        var metadata = EntryMetadata.CreatePrivate(message, recipients.ExcludedConnections);
        return new(null, Send(message, metadata, FindConnections(recipients)));
    }

    /// <summary>
    /// Sends a message with an ID like <see cref="SendToConnections"/>, unless this node has already sent it.
    /// </summary>
    /// <param name="id">The ID.</param>
    /// <param name="message">The message.</param>
    /// <param name="recipients">The connection or the user.</param>
    /// <param name="entry">The caller completes the entry when all nodes have the message.</param>
    public PublishResult SendToConnectionsOnce(
        string id, Message message, Recipients recipients, out PublishedIds.Entry entry)
    {
        if (!ids.TryClaim(recipients.Kind, recipients.Name!, id, idWindow, out entry))
            return new(null, 0) { IsDuplicate = true };
        try
        {
            return SendToConnections(message, recipients);
        }
        catch
        {
            ids.Release(recipients.Kind, recipients.Name!, id);
            throw;
        }
    }

    /// <summary>
    /// Sends a message like <see cref="SendToMembers"/>. If the message has an ID, this method skips each group to
    /// which this node has already sent it.
    /// </summary>
    public PublishResult SendToMembersOnce(
        IReadOnlyCollection<string> groupNames, Message message, Recipients recipients)
    {
        if (message.Id is not { } id) return new(null, SendToMembers(groupNames, message, recipients));
        string[] fresh =
            [.. groupNames.Where(name => ids.TryClaim(RecipientsKind.Group, name, id, idWindow, out _))];
        return new(null, SendToMembers(fresh, message, recipients)) { IsDuplicate = fresh.Length == 0 };
    }

    /// <summary>
    /// Sends a message to the private log of each group member on this node, not to the logs of the groups. A member of
    /// more than one group receives the message once. Returns the number of recipients.
    /// </summary>
    public int SendToMembers(IReadOnlyCollection<string> groupNames, Message message, Recipients recipients)
    {
        var found = new HashSet<Connection>();
        var count = 0;
        foreach (var name in groupNames)
        {
            // A structured client receives the name of the group, and a private log has no name.
            var group = name == GroupName.Everyone ? null : name;
            var metadata = EntryMetadata.CreatePrivate(message, recipients.ExcludedConnections, group);
            count += Send(message, metadata, FindMembers(name).Where(found.Add));
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

    /// <summary>Sends a message to each connection that the metadata does not exclude. Returns their number.</summary>
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
    /// Finds the recipients on this node. The registry may return its own objects, so this method uses only the IDs of
    /// these objects.
    /// </summary>
    IEnumerable<Connection> FindConnections(Recipients recipients)
    {
        if (recipients.Kind == RecipientsKind.Connection)
            return connections.Find(recipients.Name!) is { } connection ? [connection] : [];
        var ids = registry.GetUserConnections(recipients.Name!).Select(static connection => connection.Id);
        return ids.Select(connections.Find).OfType<Connection>();
    }
}
