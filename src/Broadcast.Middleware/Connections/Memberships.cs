using System.Diagnostics;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Connections;

/// <summary>Joins connections to groups and removes them from groups. All connections share one instance.</summary>
/// <remarks>
/// Invariant: code takes the locks in this order: memberships of the connection, registry, log of the group, presence.
/// A join or leave holds the membership lock during all steps. So the registry and the logs record joins and leaves in
/// the same order.
/// </remarks>
/// <param name="groups">Provides the groups.</param>
/// <param name="directory">Tracks the groups of this node and creates private logs.</param>
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
    /// Joins a group. The join fails if the connection is already a member or has ended, or if the registry refuses the
    /// join. If the connection is already a member, a filter of the app applies from the next message on.
    /// </summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    /// <exception cref="InvalidOperationException">The connection is in the maximum number of groups.</exception>
    public ValueTask<JoinResult> JoinAsync(
        Connection connection,
        string group,
        Replay replay,
        MembershipFilters filters = default,
        CancellationToken cancellationToken = default)
    {
        // Check the connection first, so that a join that must fail creates no group and no subscription.
        lock (connection.JoinedGroups)
        {
            if (!CanJoinLocked(connection, group))
            {
                SetFilterLocked(connection, group, filters);
                return default;
            }
        }

        var options = connection.CreateJoinOptions(group, replay, filters);
        while (true)
        {
            var acquiring = groups.AcquireAsync(group, cancellationToken);
            // Without a cluster, a group is available at once, and the join allocates no task.
            if (!acquiring.IsCompletedSuccessfully)
                return JoinWhenAvailableAsync(connection, group, options, acquiring, cancellationToken);
            if (TryJoin(connection, acquiring.Result, options, out var result)) return new(result);
        }
    }

    /// <summary>Leaves a group. Returns false if the connection is not a member.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="group">The name of the group.</param>
    /// <param name="isByClient">
    /// True for a leave at the request of the client. The filter of the app then stays in effect.
    /// </param>
    public bool Leave(Connection connection, string group, bool isByClient)
    {
        lock (connection.JoinedGroups)
        {
            if (!isByClient) connection.SetServerFilterLocked(group, null);
            if (connection.IndexOf(group) is not (>= 0 and var index)) return false;
            LeaveLocked(connection, connection.JoinedGroups[index]);
            connection.JoinedGroups.RemoveAt(index);
            try
            {
                registry.Leave(connection, group);
            }
            finally
            {
                // The membership has ended, even if the registry throws. LeaveAll does not report this group again.
                observer.OnLeft(connection, group);
            }

            return true;
        }
    }

    /// <summary>Leaves every group and prevents further joins.</summary>
    /// <returns>The groups that the connection has left. Null for each call after the first.</returns>
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
    /// Opens the private log of a connection. If two threads call this method at the same time, both threads get the
    /// same log.
    /// </summary>
    public PrivateLog OpenPrivateLog(Connection connection, ref PrivateLog? privateLog)
    {
        // Invariant: this method takes no membership lock, because a deadlock would be possible. The backplane may call
        // this method while the backplane holds its own lock. A leave holds the membership lock and may wait for the
        // lock of the backplane.
        var log = directory.CreatePrivateLog();
        var options = connection.CreateJoinOptions(null, default);
        // Another thread may get the log before the writer has the cursor. This lock delays an append by that thread.
        lock (log.Gate)
        {
            var bookmark = options.KeepsUnacknowledged ? new Bookmark(log) : null;
            bookmark?.SetLocked(log.End.Block, log.End.Index);
            var cursorOptions = options.Encoder is null
                ? null
                : new CursorOptions { Encoder = options.Encoder, Bookmark = bookmark };
            var cursor = new Cursor(log, connection.Writer, null, cursorOptions);
            var opened = new PrivateLog(log);
            if (Interlocked.CompareExchange(ref privateLog, opened, null) is { } other)
            {
                bookmark?.Clear();
                return other;
            }

            connection.Writer.AddCursor(cursor);
            return opened;
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
        // Another thread removed the group before the connection could join. Acquire the group again.
        return await JoinAsync(connection, name, options.Replay, options.Filters, cancellationToken);
    }

    /// <summary>
    /// Tries to join a group. Returns false only if another thread has removed the group. Releases the group if the
    /// connection did not join.
    /// </summary>
    bool TryJoin(Connection connection, Group group, in JoinOptions options, out JoinResult result)
    {
        var cursor = default(Cursor);
        result = default;
        try
        {
            lock (connection.JoinedGroups)
            {
                if (!MayJoinLocked(connection, group.Name))
                {
                    SetFilterLocked(connection, group.Name, options.Filters);
                    return true;
                }

                if ((cursor = group.Join(connection.Writer, options, out var recovered, out var position)) is null)
                {
                    if (group.Name != GroupName.Everyone) registry.Leave(connection, group.Name);
                    return false;
                }

                directory.OnJoined(group);
                connection.JoinedGroups.Add(new(group, cursor));
                connection.SetServerFilterLocked(group.Name, options.Filters.FromServer);
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

    /// <summary>
    /// Sets the filter of the app for an existing membership. For example, the client may have joined the group before
    /// the app. The filter of the client stays in effect.
    /// </summary>
    static void SetFilterLocked(Connection connection, string group, MembershipFilters filters)
    {
        if (filters.FromServer is null || filters.IsByClient) return;
        if (connection.IndexOf(group) is not (>= 0 and var index)) return;
        connection.SetServerFilterLocked(group, filters.FromServer);
        var membership = connection.JoinedGroups[index];
        filters = filters with { FromClient = membership.Cursor.ChosenFilter };
        if (filters.Both!.Equals(membership.Cursor.Filter)) return;
        var options = connection.CreateJoinOptions(group, Replay.None, filters) with
        {
            Opening = default,
            Replaced = membership.Cursor,
        };
        // If the cluster has lost messages, the group is removed, and the server closes the connection.
        if (membership.Group.Join(connection.Writer, options, out _, out _) is { } cursor)
            connection.JoinedGroups[index] = membership with { Cursor = cursor };
    }

    bool MayJoinLocked(Connection connection, string group)
    {
        if (!CanJoinLocked(connection, group)) return false;
        if (group == GroupName.Everyone) return true;
        try
        {
            return registry.TryJoin(connection, group);
        }
        catch (Exception)
        {
            RemoveFailedJoin(connection, group);
            throw;
        }
    }

    /// <summary>Removes a member from a registry that may have added the member before it threw an exception.</summary>
    void RemoveFailedJoin(Connection connection, string group)
    {
        try
        {
            registry.Leave(connection, group);
        }
        catch (Exception)
        {
            // The caller reports the exception of the join.
        }
    }

    /// <exception cref="InvalidOperationException">The connection is in the maximum number of groups.</exception>
    bool CanJoinLocked(Connection connection, string group)
    {
        if (connection.HasLeft || connection.IndexOf(group) >= 0) return false;
        if (group == GroupName.Everyone) return true;
        var count = connection.CountGroups(group);
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
