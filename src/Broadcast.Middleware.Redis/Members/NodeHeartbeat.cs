using System.Security.Cryptography;
using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Threading;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Members;

/// <summary>
/// Renews the heartbeat key of this node. Other nodes list the members of this node while the key exists.
/// </summary>
/// <remarks>
/// The heartbeat has a separate loop. The loop does not wait for the member writer, because other nodes must also list
/// this node while the writer writes many members. Invariant: <see cref="NodeName"/> is null until Redis has confirmed
/// the key of the name. Otherwise, another node could delete members that this node has just written.
/// </remarks>
sealed class NodeHeartbeat(
    RedisConnection connection, TimeSpan nodeTimeout, TimeSpan publishTimeout, TimeProvider time, RedisLogger logger)
{
    static readonly TimeSpan MaxRetryDelay = TimeSpan.FromSeconds(1);

    readonly AsyncAutoResetEvent _renewalRequested = new(time);
    readonly TimeSpan _interval = nodeTimeout / 3;

    // The key must still exist after one renewal has timed out, so the retry follows soon.
    readonly TimeSpan _retryDelay = nodeTimeout / 12 < MaxRetryDelay ? nodeTimeout / 12 : MaxRetryDelay;

    // The lifetime has whole seconds, because StackExchange.Redis then uses the commands that docs/operations/redis.md
    // lists.
    readonly TimeSpan _keyLifetime = TimeSpan.FromSeconds(Math.Ceiling(nodeTimeout.TotalSeconds));
    readonly TimeSpan _operationTimeout = publishTimeout < nodeTimeout / 3 ? publishTimeout : nodeTimeout / 3;

    // The name that the node uses or tries to register. After the heartbeat of a node has expired, the node takes a new
    // name, because other nodes may still delete the members of the old name.
    string _candidate = CreateName();
    volatile string? _nodeName;
    bool _mayBeInRedis;
    string? _lastError;

    /// <summary>Occurs after Redis has confirmed a new name. Redis has no members of this name yet.</summary>
    public event Action? NameConfirmed;

    /// <summary>The name of the node in the keys of the member hashes. Null while the node has no heartbeat.</summary>
    public string? NodeName => _nodeName;

    /// <summary>Requests an immediate renewal. Call this method after a reconnect.</summary>
    public void RenewSoon() => _renewalRequested.Set();

    /// <summary>Renews the heartbeat until the node stops.</summary>
    public async Task RunAsync(CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                var started = time.GetTimestamp();
                var isRenewed = await RenewAsync(stopping);
                var wait = isRenewed ? _interval - time.GetElapsedTime(started) : _retryDelay;
                if (wait > TimeSpan.Zero) await _renewalRequested.WaitAsync(wait, stopping);
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                return;
            }
            catch (Exception exception)
            {
                logger.UnexpectedError(exception);
                await Task.WhenAny(Task.Delay(_retryDelay, time, stopping));
            }
        }
    }

    /// <summary>
    /// Deletes the heartbeat, so that other nodes immediately stop listing the members of this node. Call this method
    /// after the end of <see cref="RunAsync"/>. Otherwise, the loop would find no key and take a new name.
    /// </summary>
    public async Task LeaveAsync(TimeSpan timeout)
    {
        if (!_mayBeInRedis || !connection.IsConnected()) return;
        var deadline = connection.GetDeadline(timeout);
        try
        {
            var keySpace = await connection.GetKeySpaceAsync(deadline);
            await connection.ExecuteAsync(
                multiplexer => multiplexer.GetDatabase().KeyDeleteAsync(keySpace.Heartbeat(_candidate)),
                deadline, retries: false);
        }
        catch (BackplaneException)
        {
            // Ignore the error, because the heartbeat expires after the node timeout.
        }
    }

    /// <summary>Renews the heartbeat once. Returns false if Redis refuses a command or does not answer.</summary>
    async Task<bool> RenewAsync(CancellationToken stopping)
    {
        try
        {
            connection.FindNewMasters();
            var deadline = connection.GetDeadline(_operationTimeout);
            var keySpace = await connection.GetKeySpaceAsync(deadline, stopping);
            if (_nodeName is { } name && !await RenewAsync(keySpace.Heartbeat(name)))
            {
                logger.HeartbeatExpired();
                (_candidate, _nodeName) = (CreateName(), null);
            }

            if (_nodeName is null)
            {
                _mayBeInRedis = true;
                await connection.ExecuteAsync(
                    multiplexer => multiplexer.GetDatabase().StringSetAsync(
                        keySpace.Heartbeat(_candidate), "", _keyLifetime),
                    deadline, cancellationToken: stopping);
                _nodeName = _candidate;
                NameConfirmed?.Invoke();
            }

            _lastError = null;
            return true;

            Task<bool> RenewAsync(RedisKey key) => connection.ExecuteAsync(
                multiplexer => multiplexer.GetDatabase().KeyExpireAsync(key, _keyLifetime),
                deadline, cancellationToken: stopping);
        }
        catch (BackplaneException exception)
        {
            logger.Failed(exception, ref _lastError);
            return false;
        }
    }

    static string CreateName() => RandomNumberGenerator.GetHexString(16, lowercase: true);
}
