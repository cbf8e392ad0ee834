using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Threading;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Members;

/// <summary>Writes the members of this node to Redis.</summary>
/// <remarks>
/// <para>
/// Each node has its own hash for each group. So a node can replace its hash, and other nodes can delete the hash of a
/// dead node.
/// </para>
/// <para>
/// After each write, a group waits behind all other groups that need a write. So a group that changes constantly does
/// not delay other groups.
/// </para>
/// </remarks>
/// <param name="connection">The connection to Redis.</param>
/// <param name="members">The members of this node.</param>
/// <param name="getNodeName">See <see cref="NodeHeartbeat.NodeName"/>.</param>
/// <param name="publishTimeout">See <see cref="RedisBackplaneOptions.PublishTimeout"/>.</param>
/// <param name="time">The time provider.</param>
/// <param name="logger">The logger.</param>
[SuppressMessage("Design", "CA1001", Justification = "The semaphore has no wait handle.")]
sealed class MemberWriter(
    RedisConnection connection, LocalMembers members, Func<string?> getNodeName, TimeSpan publishTimeout,
    TimeProvider time, RedisLogger logger)
{
    const int MaxParallelWrites = 256;
    static readonly TimeSpan RetryDelay = TimeSpan.FromSeconds(1);
    static readonly TimeSpan IdleInterval = TimeSpan.FromMinutes(1);

    /// <summary>
    /// The maximum time of one write. A write must not take longer, because slow writes delay the writes of other
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
    readonly SemaphoreSlim _slots = new(MaxParallelWrites);
    volatile bool _rewritesAll;
    long _lastRewrite;
    int _failedGroupCount;
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
                await _workAvailable.WaitAsync(IdleInterval, stopping);
                while (TryTakeGroup() is { } group)
                {
                    await _slots.WaitAsync(stopping);
                    _ = WriteAsync(group, stopping);
                }
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                return;
            }
            catch (Exception exception)
            {
                logger.UnexpectedError(exception);
            }
        }
    }

    /// <summary>Takes the next group that needs a write. Returns null if no group can be written now.</summary>
    GroupMembers? TryTakeGroup()
    {
        // The writer cannot write members while the node has no name. NameConfirmed requests a rewrite later.
        if (getNodeName() is null) return null;
        if (_rewritesAll || time.GetElapsedTime(_lastRewrite) > Retention / 2)
        {
            _rewritesAll = false;
            _lastRewrite = time.GetTimestamp();
            members.RequestRewriteOfAll();
        }

        return members.TryTakeDirty(out var group) ? group : null;
    }

    /// <summary>
    /// Writes changes of a group once, and releases a slot. After a failure, this method waits before it adds the group
    /// to the queue again.
    /// </summary>
    async Task WriteAsync(GroupMembers group, CancellationToken stopping)
    {
        if (!group.TryTakeChanges(out var write))
        {
            members.RemoveIfEmpty(group);
            _slots.Release();
            return;
        }

        var isWritten = await TryWriteAsync(group, write, stopping);
        // Repeat only the changes of the failed write. If the node repeated all writes of a large group, a slow Redis
        // would never receive all members.
        if (!isWritten) group.Retry(write);
        _slots.Release();
        CountFailure(group, isFailed: !isWritten);
        if (!isWritten) await Task.WhenAny(Task.Delay(RetryDelay, time, stopping));
        members.AddDirty(group);
        _workAvailable.Set();
    }

    /// <summary>
    /// Counts the groups whose last write failed. When no such group remains, this method clears the last error.
    /// </summary>
    void CountFailure(GroupMembers group, bool isFailed)
    {
        if (group.HasFailed == isFailed) return;
        group.HasFailed = isFailed;
        if (isFailed) Interlocked.Increment(ref _failedGroupCount);
        else if (Interlocked.Decrement(ref _failedGroupCount) == 0) _lastError = null;
    }

    async Task<bool> TryWriteAsync(GroupMembers group, MemberWrite write, CancellationToken stopping)
    {
        try
        {
            if (getNodeName() is not { } node) return false;
            var deadline = connection.GetDeadline(_writeTimeout);
            var keys = (await connection.GetKeySpaceAsync(deadline, stopping)).ForGroup(group.Group);
            // Delete the members under an earlier name of this node, because no node reads these members.
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
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            return false;
        }
        catch (Exception exception)
        {
            logger.UnexpectedError(exception);
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
