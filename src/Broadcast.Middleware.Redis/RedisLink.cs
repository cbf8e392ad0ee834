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
    public Task<Keys> KeysAsync(long deadline, CancellationToken cancellationToken = default) => UntilAsync(_ => _keys.Task, deadline, once: true, cancellationToken);

    /// <summary>Runs a script, again and again until it has been or the time is up. Whatever is asked must bear being done twice.</summary>
    /// <exception cref="BackplaneException">The time is up, or <paramref name="once"/> and it has failed.</exception>
    public Task<RedisResult> RunAsync(string script, RedisKey[] keys, RedisValue[] values, long deadline, bool once = false, CancellationToken cancellationToken = default) =>
        UntilAsync(multiplexer => multiplexer.GetDatabase().ScriptEvaluateAsync(script, keys, values), deadline, once, cancellationToken);

    /// <summary>Does anything, again and again until it has succeeded or the time is up.</summary>
    public async Task<T> UntilAsync<T>(Func<IConnectionMultiplexer, Task<T>> act, long deadline, bool once = false, CancellationToken cancellationToken = default)
    {
        var pause = FirstPause;
        Exception? last = null;
        while (true)
        {
            var restored = Volatile.Read(ref _restored).Task;
            try
            {
                var multiplexer = await WithinAsync(_multiplexer.Task, deadline, cancellationToken);
                return await WithinAsync(act(multiplexer), deadline, cancellationToken);
            }
            catch (Exception exception) when (exception is RedisException or TimeoutException or ObjectDisposedException)
            {
                // What the last attempt was waiting for says less than why the ones before it failed.
                if (exception is not TimeoutException || last is null) last = exception;
                var left = Left(deadline);
                if (once || left <= TimeSpan.Zero || _ending.IsCancellationRequested || IsFinal(exception)) throw new BackplaneException(Describe(last), last);
                log.Retrying(exception.Message);
                // With jitter, so that nodes that lost it together do not come back together.
                var wait = pause * (0.5 + Random.Shared.NextDouble());
                await Task.WhenAny(restored, Task.Delay(wait < left ? wait : left, time, cancellationToken));
                cancellationToken.ThrowIfCancellationRequested();
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
        if (_multiplexer.Task is not { IsCompletedSuccessfully: true } made) return;
        made.Result.ConnectionRestored -= OnRestored;
        made.Result.ConnectionFailed -= OnFailed;
        if (owned) await made.Result.DisposeAsync();
    }

    TimeSpan Left(long deadline) => time.GetElapsedTime(time.GetTimestamp(), deadline);

    async Task<T> WithinAsync<T>(Task<T> task, long deadline, CancellationToken cancellationToken)
    {
        if (task.IsCompleted) return await task;
        // Somebody has to look at what it ends with when nobody waits any more.
        _ = task.ContinueWith(static ended => _ = ended.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        var left = Left(deadline);
        return await task.WaitAsync(left > TimeSpan.Zero ? left : TimeSpan.Zero, time, cancellationToken);
    }

    static bool IsFinal(Exception exception) => exception is RedisServerException && exception.Message.StartsWith(Scripts.Superseded, StringComparison.Ordinal);

    static string Describe(Exception exception) => exception switch
    {
        RedisServerException => $"Redis refused: {exception.Message}",
        RedisConnectionException => "Redis cannot be reached: see to it that it runs, and that this node can connect to it.",
        _ => "Redis has not answered in time.",
    };

    async Task ConnectAsync()
    {
        var pause = FirstPause;
        while (!_ending.IsCancellationRequested)
        {
            try
            {
                var multiplexer = await connect(_ending.Token);
                _keys.SetResult(name(multiplexer));
                if (!_multiplexer.TrySetResult(multiplexer))
                {
                    if (owned) await multiplexer.DisposeAsync();
                    return;
                }

                multiplexer.ConnectionRestored += OnRestored;
                multiplexer.ConnectionFailed += OnFailed;
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
