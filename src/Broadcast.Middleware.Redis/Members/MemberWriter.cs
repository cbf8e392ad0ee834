using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Threading;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Members;

/// <summary>Writes the members of this node to Redis.</summary>
/// <remarks>
/// Each node has its own hash for each group. So a node can replace its hash, and other nodes can delete the hash of a
/// dead node.
/// </remarks>
sealed class MemberWriter(
    RedisConnection connection, LocalMembers members, NodeHeartbeat heartbeat, TimeSpan publishTimeout,
    TimeProvider time, RedisLogger logger)
{
    const int MaxParallelWrites = 256;
    static readonly TimeSpan RetryDelay = TimeSpan.FromSeconds(1);
    static readonly TimeSpan IdleInterval = TimeSpan.FromMinutes(1);

    /// <summary>
    /// The maximum time of one write. A write must not take longer, because a slow write delays the writes of other
    /// groups.
    /// </summary>
    static readonly TimeSpan MaxWriteTimeout = TimeSpan.FromSeconds(5);

    /// <summary>
    /// The time for which Redis keeps the members of a group. Each node rewrites its members after half of this time.
    /// So the members of a dead node expire, even if no node reads the group.
    /// </summary>
    static readonly TimeSpan Retention = TimeSpan.FromHours(1);

    readonly AsyncAutoResetEvent _workAvailable = new(time);
    readonly TimeSpan _writeTimeout = publishTimeout < MaxWriteTimeout ? publishTimeout : MaxWriteTimeout;
    volatile bool _rewritesAll;
    volatile bool _hasFailed;
    long _lastRewrite;
    string? _lastError;

    /// <summary>Requests a write in the background.</summary>
    public void WriteSoon() => _workAvailable.Set();

    /// <summary>
    /// Requests a rewrite of all members. Call this method if Redis may have lost members: after a reconnect to a
    /// master, or when the node has a new name.
    /// </summary>
    public void RewriteAllSoon()
    {
        _rewritesAll = true;
        _workAvailable.Set();
    }

    /// <summary>Writes changed members to Redis until the node stops.</summary>
    public async Task RunAsync(CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                if (_hasFailed) await Task.Delay(RetryDelay, time, stopping);
                else await _workAvailable.WaitAsync(IdleInterval, stopping);
                // The writer cannot write members while the node has no name. NameConfirmed requests a rewrite later.
                if (heartbeat.NodeName is null)
                {
                    _hasFailed = false;
                    continue;
                }

                if (_rewritesAll || time.GetElapsedTime(_lastRewrite) > Retention / 2)
                {
                    _rewritesAll = false;
                    _lastRewrite = time.GetTimestamp();
                    members.RequestRewriteOfAll();
                }

                _hasFailed = false;
                await WriteDirtyGroupsAsync(stopping);
                if (!_hasFailed) _lastError = null;
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                return;
            }
            catch (Exception exception)
            {
                logger.UnexpectedError(exception);
                _hasFailed = true;
            }
        }
    }

    async Task WriteDirtyGroupsAsync(CancellationToken stopping)
    {
        var writes = new List<Task>();
        // A failed write adds its group to the queue again. Because of the count, this loop does not repeat the write.
        for (var count = members.DirtyCount; count > 0 && members.TryTakeDirty(out var group); count--)
        {
            writes.Add(WriteAsync(group, stopping));
            if (writes.Count < MaxParallelWrites) continue;
            await Task.WhenAll(writes);
            writes.Clear();
        }

        await Task.WhenAll(writes);
    }

    async Task WriteAsync(GroupMembers group, CancellationToken stopping)
    {
        while (group.TryTakeChanges(out var write))
        {
            var node = heartbeat.NodeName;
            if (node is null || !await TryWriteAsync(group, node, write, stopping))
            {
                // Repeat only the changes of the failed write. If the node repeated all writes of a large group, a slow
                // Redis would never receive all members.
                members.Retry(group, write);
                _hasFailed = true;
                return;
            }
        }

        members.RemoveIfEmpty(group);
    }

    async Task<bool> TryWriteAsync(
        GroupMembers group, string node, MemberWrite write, CancellationToken stopping)
    {
        try
        {
            var deadline = connection.GetDeadline(_writeTimeout);
            var keys = (await connection.GetKeySpaceAsync(deadline, stopping)).ForGroup(group.Group);
            // Delete the members under an earlier name of this node, because no node reads them.
            var earlier = group.NodeInRedis is { } name && name != node ? name : null;
            RedisKey[] allKeys = earlier is null
                ? [keys.Members(node), keys.Nodes]
                : [keys.Members(node), keys.Nodes, keys.Members(earlier)];
            var result = await connection.RunScriptAsync(
                Scripts.WriteMembers, allKeys, CreateArguments(node, earlier, write), deadline,
                cancellationToken: stopping);
            group.NodeInRedis = node;
            if ((int)result == 0) group.ReplaceAll();
            return true;
        }
        catch (BackplaneException exception)
        {
            logger.Failed(exception, ref _lastError);
            return false;
        }
    }

    static RedisValue[] CreateArguments(string node, string? earlierNode, in MemberWrite write)
    {
        var changes = write.Changes;
        var setCount = changes.Count(static change => change.Value is not null);
        var arguments = new List<RedisValue>(6 + setCount + changes.Count)
        {
            node, Scripts.FormatMilliseconds(Retention), write.DeletesFirst ? 1 : 0, write.ExpectedCount ?? -1,
            earlierNode ?? "", setCount,
        };
        foreach (var (member, value) in changes)
        {
            if (value is not null) arguments.AddRange([KeySpace.Escape(member), value]);
        }

        foreach (var (member, value) in changes)
        {
            if (value is null) arguments.Add(KeySpace.Escape(member));
        }

        return [.. arguments];
    }
}
