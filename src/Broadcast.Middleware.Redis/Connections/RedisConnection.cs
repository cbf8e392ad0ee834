using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Storage;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Connections;

/// <summary>
/// The connection of a node to Redis. This class connects in the background, and repeats operations while Redis is
/// unreachable.
/// </summary>
sealed class RedisConnection(
    Func<CancellationToken, Task<IConnectionMultiplexer>> connect,
    bool ownsMultiplexer,
    Func<IConnectionMultiplexer, KeySpace> createKeySpace,
    ConnectionFailures failures,
    TimeProvider time,
    RedisLogger logger) : IAsyncDisposable
{
    static readonly TimeSpan MinRetryDelay = TimeSpan.FromMilliseconds(20);
    static readonly TimeSpan MaxRetryDelay = TimeSpan.FromSeconds(1);
    static readonly TimeSpan QuickReconnect = TimeSpan.FromSeconds(1);

    /// <summary>
    /// The time after which the first attempt to connect counts as failed. Without a server, StackExchange.Redis
    /// returns only after its own timeout of 5 seconds.
    /// </summary>
    static readonly TimeSpan FirstAttemptTimeout = TimeSpan.FromSeconds(2);

    readonly TaskCompletionSource<IConnectionMultiplexer> _multiplexer =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource<KeySpace> _keySpace = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly CancellationTokenSource _stopping = new();
    readonly TaskCompletionSource _firstAttempt = new(TaskCreationOptions.RunContinuationsAsynchronously);
    TaskCompletionSource _nextConnect = new(TaskCreationOptions.RunContinuationsAsynchronously);

    readonly MasterTracker _masters = new();

    // The timestamp at which the connection to a master failed. 0 before the first failure and after a reconnect.
    long _lostAt;

    /// <summary>Occurs after the first connect and after each reconnect.</summary>
    public event Action? Connected;

    /// <summary>
    /// Occurs when the node may use another copy of the data. The copy can change after a connect to a master, and
    /// after a replica has become a master. A reconnect to a replica does not change the copy.
    /// </summary>
    public event Action? MasterConnected;

    /// <summary>
    /// False if no master has been connected for one second. A reconnect within one second does not change the value.
    /// True until the first attempt to connect has ended.
    /// </summary>
    public bool IsReachable
    {
        get
        {
            if (IsConnected()) return true;
            // The event of the lost connection may arrive after this check. A master that has become a replica raises
            // no event.
            Interlocked.CompareExchange(ref _lostAt, time.GetTimestamp(), 0);
            return time.GetElapsedTime(Volatile.Read(ref _lostAt)) < QuickReconnect;
        }
    }

    /// <summary>Canceled when the node stops.</summary>
    public CancellationToken Stopping => _stopping.Token;

    public void Start()
    {
        _ = Task.Run(ConnectAsync);
        _ = EndFirstAttemptAsync();
    }

    /// <summary>Returns the timestamp at which <paramref name="timeout"/> expires.</summary>
    public long GetDeadline(TimeSpan timeout) =>
        time.GetTimestamp() + (long)(timeout.TotalSeconds * time.TimestampFrequency);

    /// <summary>Waits until the first attempt to connect has ended, or the deadline passes.</summary>
    public async Task WaitForFirstAttemptAsync(long deadline, CancellationToken cancellationToken)
    {
        if (_firstAttempt.Task.IsCompleted) return;
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, Stopping);
        var remaining = GetRemaining(deadline);
        await _firstAttempt.Task
            .WaitAsync(remaining > TimeSpan.Zero ? remaining : TimeSpan.Zero, time, linked.Token)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        cancellationToken.ThrowIfCancellationRequested();
    }

    /// <summary>
    /// Returns the key space. This method waits for the first connection, because the key names depend on the settings
    /// of the connection.
    /// </summary>
    public Task<KeySpace> GetKeySpaceAsync(long deadline, CancellationToken cancellationToken = default) =>
        ExecuteAsync(_ => _keySpace.Task, deadline, retries: false, cancellationToken: cancellationToken);

    /// <summary>Runs a script. The rules of <see cref="ExecuteAsync"/> apply.</summary>
    public Task<RedisResult> RunScriptAsync(
        string script, RedisKey[] keys, RedisValue[] values, long deadline, bool retries = true,
        Action<string>? onRetry = null, CancellationToken cancellationToken = default) =>
        ExecuteAsync(
            multiplexer => multiplexer.GetDatabase().ScriptEvaluateAsync(
                script, keys, values, CommandFlags.DemandMaster),
            deadline, retries, onRetry, cancellationToken);

    /// <summary>Raises <see cref="MasterConnected"/> if a replica has become a master since the last call.</summary>
    public void FindNewMasters()
    {
        if (_multiplexer.Task is { IsCompletedSuccessfully: true } task && _masters.HasNewMaster(task.Result))
            OnMasterConnected();
    }

    /// <summary>
    /// Returns true if the master of a group is connected. If <paramref name="group"/> is null, any connected master is
    /// sufficient. The method also returns true until the first attempt to connect has ended.
    /// </summary>
    public bool IsConnected(string? group = null)
    {
        if (!_firstAttempt.Task.IsCompleted) return true;
        if (_multiplexer.Task is not { IsCompletedSuccessfully: true } task) return false;
        var key = group is null ? default : _keySpace.Task.Result.ForGroup(group).State;
        return task.Result.GetDatabase().IsConnected(key, CommandFlags.DemandMaster);
    }

    /// <summary>Repeats an operation until the operation succeeds or the deadline passes.</summary>
    /// <remarks>Redis may execute an operation twice, so the operation must be idempotent.</remarks>
    /// <param name="operation">The operation.</param>
    /// <param name="deadline">
    /// The timestamp after which this method stops the attempts. See <see cref="GetDeadline"/>.
    /// </param>
    /// <param name="retries">False for a single attempt.</param>
    /// <param name="onRetry">Receives the error before each retry, unless the error is a timeout.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <exception cref="BackplaneException">
    /// The deadline has passed, the only attempt failed, or the node has stopped.
    /// </exception>
    public async Task<T> ExecuteAsync<T>(
        Func<IConnectionMultiplexer, Task<T>> operation, long deadline, bool retries = true,
        Action<string>? onRetry = null, CancellationToken cancellationToken = default)
    {
        // The node can stop while Redis does not answer. So the wait must also end when the node stops.
        using var linked = cancellationToken.CanBeCanceled
            ? CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, Stopping)
            : null;
        var cancelled = linked?.Token ?? Stopping;
        var delay = MinRetryDelay;
        Exception? lastError = null;
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (cancelled.IsCancellationRequested)
            {
                // The stop of the node is the cause, not an earlier timeout. With a TimeoutException as the inner
                // exception, the outbox would report a timeout of the publish.
                throw new BackplaneException(
                    "The broadcast has stopped on this node. Do not use it after the shutdown.",
                    lastError is TimeoutException ? null : lastError);
            }

            var nextConnect = Volatile.Read(ref _nextConnect).Task;
            try
            {
                var multiplexer = await WaitAsync(_multiplexer.Task, deadline, cancelled);
                return await WaitAsync(ObserveException(operation(multiplexer)), deadline, cancelled);
            }
            catch (Exception exception)
            {
                if (cancelled.IsCancellationRequested) continue;
                if (lastError is null || !IsLessSpecific(exception, lastError)) lastError = exception;
                var remaining = GetRemaining(deadline);
                if (!retries || remaining <= TimeSpan.Zero || IsFinal(exception))
                    throw new BackplaneException(Describe(lastError), lastError);
                if (lastError is not TimeoutException) onRetry?.Invoke(Describe(lastError));
                logger.Retrying(exception.Message);
                // The random factor spreads the retries of nodes that Redis disconnected at the same time.
                var wait = delay * (0.5 + Random.Shared.NextDouble());
                await Task.WhenAny(
                    nextConnect, Task.Delay(wait < remaining ? wait : remaining, time, cancelled));
                // Do not start another attempt if the deadline leaves no time for an answer.
                if (wait >= remaining && !nextConnect.IsCompleted && !cancelled.IsCancellationRequested)
                    throw new BackplaneException(Describe(lastError), lastError);
                if (delay < MaxRetryDelay) delay *= 2;
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_stopping.IsCancellationRequested) return;
        await _stopping.CancelAsync();
        // If ConnectAsync is still running, ConnectAsync disposes of the multiplexer.
        if (_multiplexer.TrySetException(new ObjectDisposedException(nameof(RedisConnection))))
            _ = _multiplexer.Task.Exception;
        if (_multiplexer.Task is { IsCompletedSuccessfully: true } task) await ReleaseAsync(task.Result);
    }

    async Task ReleaseAsync(IConnectionMultiplexer multiplexer)
    {
        multiplexer.ConnectionRestored -= OnConnectionRestored;
        multiplexer.ConnectionFailed -= OnConnectionFailed;
        if (ownsMultiplexer) await multiplexer.DisposeAsync();
    }

    TimeSpan GetRemaining(long deadline) => time.GetElapsedTime(time.GetTimestamp(), deadline);

    async Task<T> WaitAsync<T>(Task<T> task, long deadline, CancellationToken cancellationToken)
    {
        if (task.IsCompleted) return await task;
        var remaining = GetRemaining(deadline);
        return await task.WaitAsync(
            remaining > TimeSpan.Zero ? remaining : TimeSpan.Zero, time, cancellationToken);
    }

    /// <summary>
    /// Reads the exception of a task that fails after its caller stopped waiting. Otherwise, the runtime reports an
    /// unobserved exception.
    /// </summary>
    static Task<T> ObserveException<T>(Task<T> task)
    {
        if (!task.IsCompleted)
        {
            _ = task.ContinueWith(
                static failed => _ = failed.Exception, CancellationToken.None,
                TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously,
                TaskScheduler.Default);
        }

        return task;
    }

    /// <summary>
    /// Returns true for a timeout, and for a lost connection to a Redis that cannot save its data. Such a Redis also
    /// refuses a PING of StackExchange.Redis, and StackExchange.Redis then closes the connection.
    /// </summary>
    static bool IsLessSpecific(Exception error, Exception earlier) => error is TimeoutException
        || (error is RedisConnectionException && earlier is RedisServerException
            && earlier.Message.Contains("MISCONF", StringComparison.Ordinal));

    string Describe(Exception error) => RedisErrors.Describe(
        error is RedisConnectionException lost ? failures.FindNewest(lost) ?? error : error);

    static bool IsFinal(Exception exception) =>
        exception is RedisServerException
        && exception.Message.StartsWith(Scripts.Superseded, StringComparison.Ordinal);

    async Task ConnectAsync()
    {
        var delay = MinRetryDelay;
        while (!_stopping.IsCancellationRequested)
        {
            try
            {
                var multiplexer = await connect(_stopping.Token);
                _keySpace.TrySetResult(createKeySpace(multiplexer));
                multiplexer.ConnectionRestored += OnConnectionRestored;
                multiplexer.ConnectionFailed += OnConnectionFailed;
                if (!_multiplexer.TrySetResult(multiplexer))
                {
                    await ReleaseAsync(multiplexer);
                    return;
                }

                break;
            }
            catch (Exception exception) when (!_stopping.IsCancellationRequested)
            {
                // Catch all exceptions, because the delegate of the app can throw any exception.
                OnConnectFailed(exception.Message);
            }
            catch (Exception)
            {
                // Ignore the error, because the node has stopped.
                return;
            }

            try
            {
                await Task.Delay(delay * (0.5 + Random.Shared.NextDouble()), time, _stopping.Token);
            }
            catch (OperationCanceledException)
            {
                return;
            }

            if (delay < MaxRetryDelay) delay *= 2;
        }

        if (_multiplexer.Task is not { IsCompletedSuccessfully: true } task) return;
        _masters.HasNewMaster(task.Result);
        if (task.Result.GetDatabase().IsConnected(default, CommandFlags.DemandMaster)) OnConnected(isMaster: true);
        else OnConnectFailed("Redis does not answer.");
    }

    async Task EndFirstAttemptAsync()
    {
        await Task.WhenAny(_firstAttempt.Task, Task.Delay(FirstAttemptTimeout, time, Stopping));
        _firstAttempt.TrySetResult();
    }

    void OnConnectionRestored(object? sender, ConnectionFailedEventArgs args)
    {
        logger.ConnectionRestored();
        OnConnected(MasterTracker.IsMaster(sender, args));
    }

    void OnConnectionFailed(object? sender, ConnectionFailedEventArgs args)
    {
        if (MasterTracker.IsMaster(sender, args)) Interlocked.CompareExchange(ref _lostAt, time.GetTimestamp(), 0);
        logger.ConnectionLost(args.FailureType.ToString());
    }

    void OnConnectFailed(string error)
    {
        Interlocked.CompareExchange(ref _lostAt, time.GetTimestamp(), 0);
        _firstAttempt.TrySetResult();
        logger.ConnectFailed(error);
    }

    void OnConnected(bool isMaster)
    {
        _firstAttempt.TrySetResult();
        var connected = Interlocked.Exchange(
            ref _nextConnect, new(TaskCreationOptions.RunContinuationsAsynchronously));
        connected.TrySetResult();
        Connected?.Invoke();
        if (isMaster) OnMasterConnected();
    }

    void OnMasterConnected()
    {
        Volatile.Write(ref _lostAt, 0);
        MasterConnected?.Invoke();
    }
}
