using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Dashboard.Figures;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Dashboard.Requests;

/// <summary>
/// Finds groups, and the members and newest messages of a group. An answer has a limited size, and a query allocates
/// memory only for its answer.
/// </summary>
/// <param name="groups">The groups of this node.</param>
/// <param name="connections">See <see cref="ConnectionManager.All"/>.</param>
/// <param name="countConnections">Returns the number of connections of this node.</param>
/// <param name="registry">The registry of the app, which lists the members of each group.</param>
/// <param name="clusterPresence">Counts the members on all nodes. Null without a cluster.</param>
/// <param name="time">The time provider.</param>
sealed class GroupQueries(
    GroupDirectory groups,
    IEnumerable<IBroadcastConnection> connections,
    Func<int> countConnections,
    IConnectionRegistry registry,
    IPresence? clusterPresence,
    TimeProvider time)
{
    /// <summary>The maximum number of groups in an answer.</summary>
    public const int MaxGroups = 50;

    /// <summary>The maximum number of members in an answer.</summary>
    public const int MaxMembers = 100;

    /// <summary>The maximum number of messages in an answer.</summary>
    public const int MaxMessages = 20;

    /// <summary>Returns the largest groups whose names contain a text.</summary>
    public GroupsReply Search(long id, string text)
    {
        var largest = new PriorityQueue<string, int>(MaxGroups + 1);
        var total = 0;
        foreach (var group in groups.All)
        {
            if (group.Name == GroupName.Everyone) continue;
            if (!group.Name.Contains(text, StringComparison.OrdinalIgnoreCase)) continue;
            total++;
            // The queue removes the smallest group.
            if (largest.Count < MaxGroups) largest.Enqueue(group.Name, group.Count);
            else largest.EnqueueDequeue(group.Name, group.Count);
        }

        var items = largest.UnorderedItems
            .OrderByDescending(static item => item.Priority)
            .ThenBy(static item => item.Element, StringComparer.Ordinal)
            .Select(static item => new GroupItem { Name = item.Element, Members = item.Priority });
        return new GroupsReply { Id = id, Total = total, Groups = [.. items] };
    }

    /// <summary>Returns members of a group, and the newest messages of this group.</summary>
    /// <param name="id">The number of the request.</param>
    /// <param name="name">The name of the group. Empty for all connections.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    public async ValueTask<GroupReply> OpenAsync(long id, string name, CancellationToken cancellationToken)
    {
        if (name != GroupName.Everyone) GroupName.ThrowIfInvalid(name);
        var group = groups.Find(name);
        var total = name == GroupName.Everyone ? countConnections() : registry.CountGroupMembers(name);
        return new GroupReply
        {
            Id = id,
            Name = name,
            Exists = group is not null || total > 0,
            Total = total,
            ClusterTotal = await CountInClusterAsync(name, cancellationToken),
            Members = [.. TakeMembers(name).Select(CreateMember)],
            Messages = group is null ? [] : [.. Enumerable.Reverse(group.GetNewest(MaxMessages)).Select(CreateMessage)],
        };
    }

    /// <summary>Returns the number of members on all nodes. Null if this number is unknown.</summary>
    async ValueTask<long?> CountInClusterAsync(string name, CancellationToken cancellationToken)
    {
        if (clusterPresence is null || name == GroupName.Everyone) return null;
        try
        {
            return await clusterPresence.CountAsync(name, cancellationToken);
        }
        catch (BackplaneException)
        {
            return null;
        }
    }

    IEnumerable<IBroadcastConnection> TakeMembers(string name)
    {
        var members = name == GroupName.Everyone ? connections : registry.GetGroupMembers(name);
        return members.Take(MaxMembers);
    }

    static MemberItem CreateMember(IBroadcastConnection connection) => new()
    {
        Id = connection.Id,
        User = Excerpt.FromName(connection.UserId),
        Address = connection.RemoteAddress?.ToString(),
        ConnectedAt = connection.ConnectedAt.ToUnixTimeMilliseconds(),
    };

    MessageItem CreateMessage(LogEntry entry)
    {
        var payload = entry.GetPayload(out var type);
        return new MessageItem
        {
            Offset = entry.Offset,
            Time = entry.PublishedAt == 0
                ? null
                : (time.GetUtcNow() - time.GetElapsedTime(entry.PublishedAt)).ToUnixTimeMilliseconds(),
            Key = Excerpt.FromName(entry.Key),
            IsBinary = type != MessageType.Text,
            Size = payload.Length,
            Text = Excerpt.FromPayload(payload.Span, type, out var isCut),
            IsCut = isCut,
        };
    }
}
