using StackExchange.Redis;

namespace Broadcast.Middleware;

/// <summary>The connection to Redis: made in the background, asked again while it is away, and watched.</summary>
sealed class RedisLink(
    Func<CancellationToken, Task<IConnectionMultiplexer>> connect, bool owned, Func<IConnectionMultiplexer, Keys> name, TimeProvider time, RedisLog log) : IAsyncDisposable
{
    static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(20);
    static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(1);

    readonly TaskCompletionSource<IConnectionMultiplexer> _multiplexer = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource<Keys> _keys = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly CancellationTokenSource _ending = new();
    TaskCompletionSource _restored = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>A connection has come back, or the first one is there.</summary>
    public event Action? Restored;

    public bool IsConnected => _multiplexer.Task is { IsCompletedSuccessfully: true } made && made.Result.IsConnected;

    public CancellationToken Ending => _ending.Token;

    public void Start() => _ = Task.Run(ConnectAsync);

    public long DeadlineAfter(TimeSpan timeout) => time.GetTimestamp() + (long)(timeout.TotalSeconds * time.TimestampFrequency);

    /// <summary>The names of keys depend on the connection.</summary>
    public Task<Keys> KeysAsync(long deadline, CancellationToken cancellationToken = default) => UntilAsync(_ => _keys.Task, deadline, once: true, cancellationToken: cancellationToken);

    /// <summary>
    /// Runs a script, again and again until it has been or the time is up. Whatever is asked must bear being done twice. <paramref name="failed"/> is told
    /// why it is tried again, unless there was no answer in time.
    /// </summary>
    /// <exception cref="BackplaneException">The time is up, or <paramref name="once"/> and it has failed.</exception>
    public Task<RedisResult> RunAsync(
        string script, RedisKey[] keys, RedisValue[] values, long deadline, bool once = false, Action<string>? failed = null, CancellationToken cancellationToken = default) =>
        UntilAsync(multiplexer => multiplexer.GetDatabase().ScriptEvaluateAsync(script, keys, values), deadline, once, failed, cancellationToken);

    /// <summary>Does anything, again and again until it has succeeded or the time is up.</summary>
    public async Task<T> UntilAsync<T>(
        Func<IConnectionMultiplexer, Task<T>> act, long deadline, bool once = false, Action<string>? failed = null, CancellationToken cancellationToken = default)
    {
        // Who waits when the node ends is told so, whatever Redis does.
        using var either = cancellationToken.CanBeCanceled ? CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, Ending) : null;
        var end = either?.Token ?? Ending;
        var pause = FirstPause;
        Exception? last = null;
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (end.IsCancellationRequested) throw new BackplaneException("The broadcast has ended on this node.", last);
            var restored = Volatile.Read(ref _restored).Task;
            try
            {
                var multiplexer = await WithinAsync(_multiplexer.Task, deadline, end);
                return await WithinAsync(Observed(act(multiplexer)), deadline, end);
            }
            catch (Exception exception)
            {
                if (end.IsCancellationRequested) continue;
                // What the last attempt was waiting for says less than why the ones before it failed.
                if (exception is not TimeoutException || last is null) last = exception;
                var left = Left(deadline);
                if (once || left <= TimeSpan.Zero || IsFinal(exception)) throw new BackplaneException(RedisProblem.Describe(last), last);
                if (last is not TimeoutException) failed?.Invoke(RedisProblem.Describe(last));
                log.Retrying(exception.Message);
                // With jitter, so that nodes that lost it together do not come back together.
                var wait = pause * (0.5 + Random.Shared.NextDouble());
                await Task.WhenAny(restored, Task.Delay(wait < left ? wait : left, time, end));
                // Nothing is begun for which there is no time left to hear of it.
                if (wait >= left && !restored.IsCompleted && !end.IsCancellationRequested) throw new BackplaneException(RedisProblem.Describe(last), last);
                if (pause < LongestPause) pause *= 2;
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_ending.IsCancellationRequested) return;
        await _ending.CancelAsync();
        // A connection that is being made, which can take long, is closed by whoever makes it.
        if (_multiplexer.TrySetException(new ObjectDisposedException(nameof(RedisLink)))) _ = _multiplexer.Task.Exception;
        if (_multiplexer.Task is { IsCompletedSuccessfully: true } made) await LeaveAsync(made.Result);
    }

    async Task LeaveAsync(IConnectionMultiplexer multiplexer)
    {
        multiplexer.ConnectionRestored -= OnRestored;
        multiplexer.ConnectionFailed -= OnFailed;
        if (owned) await multiplexer.DisposeAsync();
    }

    TimeSpan Left(long deadline) => time.GetElapsedTime(time.GetTimestamp(), deadline);

    async Task<T> WithinAsync<T>(Task<T> task, long deadline, CancellationToken cancellationToken)
    {
        if (task.IsCompleted) return await task;
        var left = Left(deadline);
        return await task.WaitAsync(left > TimeSpan.Zero ? left : TimeSpan.Zero, time, cancellationToken);
    }

    /// <summary>Somebody has to look at what it ends with when nobody waits any more.</summary>
    static Task<T> Observed<T>(Task<T> task)
    {
        if (!task.IsCompleted)
            _ = task.ContinueWith(static ended => _ = ended.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        return task;
    }

    static bool IsFinal(Exception exception) => exception is RedisServerException && exception.Message.StartsWith(Scripts.Superseded, StringComparison.Ordinal);

    async Task ConnectAsync()
    {
        var pause = FirstPause;
        while (!_ending.IsCancellationRequested)
        {
            try
            {
                var multiplexer = await connect(_ending.Token);
                _keys.SetResult(name(multiplexer));
                multiplexer.ConnectionRestored += OnRestored;
                multiplexer.ConnectionFailed += OnFailed;
                if (!_multiplexer.TrySetResult(multiplexer))
                {
                    await LeaveAsync(multiplexer);
                    return;
                }

                if (multiplexer.IsConnected) Announce();
                else log.NotConnected("It does not answer.");
                return;
            }
            catch (Exception exception) when (!_ending.IsCancellationRequested)
            {
                // Of the app's factory it may be anything.
                log.NotConnected(exception.Message);
            }
            catch (Exception)
            {
                // It has ended, and nobody wants to know.
                return;
            }

            try
            {
                await Task.Delay(pause * (0.5 + Random.Shared.NextDouble()), time, _ending.Token);
            }
            catch (OperationCanceledException)
            {
                return;
            }

            if (pause < LongestPause) pause *= 2;
        }
    }

    void OnRestored(object? sender, ConnectionFailedEventArgs args)
    {
        log.ConnectionRestored();
        Announce();
    }

    void OnFailed(object? sender, ConnectionFailedEventArgs args) => log.ConnectionLost(args.FailureType.ToString());

    void Announce()
    {
        Interlocked.Exchange(ref _restored, new(TaskCreationOptions.RunContinuationsAsynchronously)).TrySetResult();
        Restored?.Invoke();
    }
}
