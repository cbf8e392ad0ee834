using System.Security.Cryptography;
using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Threading;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Members;

/// <summary>Writes the members of this node to Redis, and renews the heartbeat of the node.</summary>
/// <remarks>
/// Each node has its own hash for each group. So a node can replace its hash, and other nodes can delete the hash of a
/// dead node.
/// </remarks>
sealed class MemberWriter(
    RedisConnection connection, LocalMembers members, TimeSpan nodeTimeout, TimeSpan publishTimeout, TimeProvider time,
    RedisLogger logger)
{
    const int MaxParallelWrites = 256;
    static readonly TimeSpan RetryDelay = TimeSpan.FromSeconds(1);

    /// <summary>
    /// The time for which Redis keeps the members of a group. Each node rewrites its members after half of this time.
    /// So the members of a dead node expire, even if no node reads the group.
    /// </summary>
    static readonly TimeSpan Retention = TimeSpan.FromHours(1);

    readonly AsyncAutoResetEvent _workAvailable = new(time);
    readonly TimeSpan _heartbeatInterval = nodeTimeout / 3;

    // A slow operation must not delay the next heartbeat.
    readonly TimeSpan _operationTimeout = publishTimeout < nodeTimeout / 3 ? publishTimeout : nodeTimeout / 3;

    // A node whose heartbeat has expired takes a new name. Other nodes may still delete the members of the old name.
    volatile string _nodeName = RandomNumberGenerator.GetHexString(16, lowercase: true);
    volatile bool _rewritesAll;
    long _lastRewrite;

    /// <summary>The name of the node in the keys of the member hashes.</summary>
    public string NodeName => _nodeName;

    /// <summary>Requests a write in the background.</summary>
    public void WriteSoon() => _workAvailable.Set();

    /// <summary>
    /// Requests a rewrite of all members. Call this method after a reconnect, because Redis may have lost members.
    /// </summary>
    public void RewriteAllSoon()
    {
        _rewritesAll = true;
        _workAvailable.Set();
    }

    /// <summary>Renews the heartbeat and writes changes until the node stops.</summary>
    public async Task RunAsync(CancellationToken stopping)
    {
        var lastHeartbeat = 0L;
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                var isFirst = lastHeartbeat == 0;
                var wait = isFirst ? TimeSpan.Zero : _heartbeatInterval - time.GetElapsedTime(lastHeartbeat);
                if (wait > TimeSpan.Zero) await _workAvailable.WaitAsync(wait, stopping);
                if (isFirst || _rewritesAll || time.GetElapsedTime(lastHeartbeat) >= _heartbeatInterval)
                {
                    if (!await RenewHeartbeatAsync(isFirst, stopping))
                    {
                        await Task.Delay(RetryDelay, time, stopping);
                        continue;
                    }

                    lastHeartbeat = time.GetTimestamp();
                }

                if (_rewritesAll || time.GetElapsedTime(_lastRewrite) > Retention / 2)
                {
                    _rewritesAll = false;
                    _lastRewrite = time.GetTimestamp();
                    members.RequestRewriteOfAll();
                }

                await WriteDirtyGroupsAsync(stopping);
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                return;
            }
            catch (Exception exception)
            {
                logger.UnexpectedError(exception);
                await Task.WhenAny(Task.Delay(RetryDelay, time, stopping));
            }
        }
    }

    /// <summary>Deletes the heartbeat, so that other nodes immediately stop listing the members of this node.</summary>
    public async Task LeaveAsync(TimeSpan timeout)
    {
        if (!connection.IsConnected) return;
        var deadline = connection.GetDeadline(timeout);
        try
        {
            var keySpace = await connection.GetKeySpaceAsync(deadline);
            await connection.ExecuteAsync(
                multiplexer => multiplexer.GetDatabase().KeyDeleteAsync(keySpace.Heartbeat(_nodeName)),
                deadline, retries: false);
        }
        catch (BackplaneException)
        {
            // Without the delete, the heartbeat expires after a while.
        }
    }

    /// <summary>Renews the heartbeat. Returns false if Redis is unreachable.</summary>
    async Task<bool> RenewHeartbeatAsync(bool isFirst, CancellationToken stopping)
    {
        try
        {
            var deadline = connection.GetDeadline(_operationTimeout);
            var keySpace = await connection.GetKeySpaceAsync(deadline, stopping);
            var isAlive = await connection.ExecuteAsync(
                multiplexer => multiplexer.GetDatabase().KeyExpireAsync(keySpace.Heartbeat(_nodeName), nodeTimeout),
                deadline, cancellationToken: stopping);
            if (isAlive) return true;
            if (!isFirst)
            {
                logger.HeartbeatExpired();
                _nodeName = RandomNumberGenerator.GetHexString(16, lowercase: true);
            }

            await connection.ExecuteAsync(
                multiplexer => multiplexer.GetDatabase().StringSetAsync(
                    keySpace.Heartbeat(_nodeName), "", nodeTimeout),
                deadline, cancellationToken: stopping);
            _rewritesAll = true;
            return true;
        }
        catch (BackplaneException exception)
        {
            logger.Retrying(exception.Message);
            return false;
        }
    }

    async Task WriteDirtyGroupsAsync(CancellationToken stopping)
    {
        var writes = new List<Task>();
        // A failed write adds its group to the queue again. The count prevents an immediate retry in this loop.
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
        var deadline = connection.GetDeadline(_operationTimeout);
        while (group.TryTakeChanges(out var rewrites, out var changes))
        {
            try
            {
                var keys = (await connection.GetKeySpaceAsync(deadline, stopping)).ForGroup(group.Group);
                await connection.RunScriptAsync(
                    Scripts.WriteMembers, [keys.Members(_nodeName), keys.Nodes], CreateArguments(rewrites, changes),
                    deadline, cancellationToken: stopping);
            }
            catch (BackplaneException exception)
            {
                // Redis may have executed the script despite the error, so the next write replaces all members.
                logger.Retrying(exception.Message);
                members.RequestRewrite(group);
                return;
            }
        }

        members.RemoveIfEmpty(group);
    }

    RedisValue[] CreateArguments(bool rewrites, List<KeyValuePair<string, byte[]?>> changes)
    {
        var setCount = changes.Count(static change => change.Value is not null);
        var arguments = new List<RedisValue>(4 + setCount + changes.Count)
        {
            _nodeName, Scripts.FormatMilliseconds(Retention), rewrites ? 1 : 0, setCount,
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
