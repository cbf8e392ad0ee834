using System.Diagnostics;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Connections;

/// <summary>Joins connections to groups and removes them from groups. One object serves all connections.</summary>
/// <remarks>
/// Order of locks: the memberships of the connection, the registry, the log of the group, presence. A join or leave
/// holds the membership lock during all these steps. So the registry and the logs agree on the order of joins and
/// leaves.
/// </remarks>
/// <param name="groups">Provides the groups.</param>
/// <param name="directory">The groups of this node.</param>
/// <param name="registry">Decides whether a connection may join.</param>
/// <param name="observer">Observes joins and leaves.</param>
/// <param name="maxGroups">See <see cref="BroadcastOptions.MaxGroupsPerConnection"/>.</param>
sealed class Memberships(
    IGroupProvider groups,
    GroupDirectory directory,
    IConnectionRegistry registry,
    IMembershipObserver observer,
    int maxGroups)
{
    /// <summary>
    /// Joins a group. The join fails if the connection is a member already, the registry refuses, or the connection has
    /// left.
    /// </summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    /// <exception cref="InvalidOperationException">The connection is in the maximum number of groups.</exception>
    public ValueTask<JoinResult> JoinAsync(
        Connection connection, string group, Replay replay, CancellationToken cancellationToken = default)
    {
        // A join that must fail creates no group and subscribes to none.
        lock (connection.JoinedGroups)
        {
            if (!CanJoinLocked(connection, group)) return default;
        }

        var options = connection.CreateJoinOptions(group, replay);
        while (true)
        {
            var acquiring = groups.AcquireAsync(group, cancellationToken);
            // Without a cluster, a group is available at once and a join allocates no task.
            if (!acquiring.IsCompletedSuccessfully)
                return JoinWhenAvailableAsync(connection, group, options, acquiring, cancellationToken);
            if (TryJoin(connection, acquiring.Result, options, out var result)) return new(result);
        }
    }

    /// <summary>Leaves a group. Returns false if the connection is not a member.</summary>
    public bool Leave(Connection connection, string group)
    {
        lock (connection.JoinedGroups)
        {
            if (connection.IndexOf(group) is not (>= 0 and var index)) return false;
            LeaveLocked(connection, connection.JoinedGroups[index]);
            connection.JoinedGroups.RemoveAt(index);
            registry.Leave(connection, group);
            observer.OnLeft(connection, group);
            return true;
        }
    }

    /// <summary>Leaves every group. The connection joins no group afterwards.</summary>
    /// <returns>The groups. Null for each call after the first.</returns>
    public IReadOnlyList<string>? LeaveAll(Connection connection)
    {
        lock (connection.JoinedGroups)
        {
            if (!connection.TryLeaveLocked()) return null;
            foreach (var membership in connection.JoinedGroups) LeaveLocked(connection, membership);
            string[] left = [.. connection.JoinedGroups.Select(static membership => membership.Group.Name)];
            connection.JoinedGroups.Clear();
            return left;
        }
    }

    /// <summary>
    /// Opens the private log of a connection. If two threads open it at the same time, both get the same log.
    /// </summary>
    public MessageLog OpenPrivateLog(Connection connection, ref MessageLog? privateLog)
    {
        // Invariant: this method takes no membership lock, because that could cause a deadlock. The backplane may hold
        // its own lock while it delivers a private message. A leave waits for that lock while it holds the membership
        // lock.
        var log = directory.CreatePrivateLog();
        var options = connection.CreateJoinOptions(null, default);
        // A thread that finds the log before the reader exists waits for this lock until it can append.
        lock (log.Gate)
        {
            var bookmark = options.KeepsUnacknowledged ? new Bookmark(log) : null;
            bookmark?.SetLocked(log.End.Block, log.End.Index);
            var cursorOptions = options.Encoder is null
                ? null
                : new CursorOptions { Encoder = options.Encoder, Bookmark = bookmark };
            var cursor = new Cursor(log, connection.Writer, null, cursorOptions);
            if (Interlocked.CompareExchange(ref privateLog, log, null) is { } other)
            {
                bookmark?.Clear();
                return other;
            }

            connection.Writer.AddCursor(cursor);
            return log;
        }
    }

    async ValueTask<JoinResult> JoinWhenAvailableAsync(
        Connection connection,
        string name,
        JoinOptions options,
        ValueTask<Group> acquiring,
        CancellationToken cancellationToken)
    {
        if (TryJoin(connection, await acquiring, options, out var result)) return result;
        // The cluster lost the group meanwhile. Subscribe again.
        return await JoinAsync(connection, name, options.Replay, cancellationToken);
    }

    /// <summary>
    /// Tries to join a group. Returns false if the group was removed meanwhile. Releases the group unless the
    /// connection joined it.
    /// </summary>
    bool TryJoin(Connection connection, Group group, in JoinOptions options, out JoinResult result)
    {
        var cursor = default(Cursor);
        result = default;
        try
        {
            lock (connection.JoinedGroups)
            {
                if (!MayJoinLocked(connection, group.Name)) return true;
                if ((cursor = group.Join(connection.Writer, options, out var recovered, out var position)) is null)
                {
                    if (group.Name != GroupName.Everyone) registry.Leave(connection, group.Name);
                    return false;
                }

                directory.OnJoined(group);
                connection.JoinedGroups.Add(new(group, cursor));
                observer.OnJoined(connection, group.Name);
                result = new JoinResult(true, recovered, position);
                return true;
            }
        }
        finally
        {
            if (cursor is null) groups.Release(group, group.IsEmpty);
        }
    }

    bool MayJoinLocked(Connection connection, string group) =>
        CanJoinLocked(connection, group)
        && (group == GroupName.Everyone || registry.TryJoin(connection, group));

    /// <exception cref="InvalidOperationException">The connection is in the maximum number of groups.</exception>
    bool CanJoinLocked(Connection connection, string group)
    {
        if (connection.HasLeft || connection.IndexOf(group) >= 0) return false;
        if (group == GroupName.Everyone) return true;
        var count = connection.CountGroupsLocked();
        if (count < maxGroups) return true;
        throw new InvalidOperationException(
            $"The connection is in {count} groups, the maximum of {nameof(BroadcastOptions.MaxGroupsPerConnection)}. " +
            "Leave a group first, or raise the option.");
    }

    void LeaveLocked(Connection connection, Membership membership)
    {
        Debug.Assert(Monitor.IsEntered(connection.JoinedGroups));
        var isEmpty = membership.Group.Leave(membership.Cursor, connection.Writer);
        groups.Release(membership.Group, isEmpty);
    }
}
