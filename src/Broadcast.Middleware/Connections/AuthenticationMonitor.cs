using System.Net.WebSockets;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// Closes a connection when its authentication expires or an <see cref="IConnectionRevalidator"/> rejects it. The pump
/// calls the monitor at each heartbeat.
/// </summary>
sealed class AuthenticationMonitor : IDisposable
{
    readonly Connection _connection;
    readonly IConnectionRevalidator? _revalidator;
    readonly TimeSpan _interval;
    readonly TimeProvider _time;
    readonly CancellationTokenSource _ended = new();
    DateTimeOffset _expires;
    DateTimeOffset _nextCheck;
    int _isChecking;

    AuthenticationMonitor(
        Connection connection,
        DateTimeOffset expires,
        IConnectionRevalidator? revalidator,
        TimeSpan interval,
        TimeProvider time)
    {
        (_connection, _expires, _revalidator, _interval, _time) = (connection, expires, revalidator, interval, time);
        ScheduleNextCheck();
    }

    /// <summary>
    /// Creates a monitor. Returns null if the authentication never expires and the app has no revalidator.
    /// </summary>
    /// <param name="connection">The connection.</param>
    /// <param name="expires">
    /// The time at which the authentication expires. Null if the authentication never expires.
    /// </param>
    /// <param name="revalidator">The revalidator of the app. Null if the app has no revalidator.</param>
    /// <param name="interval">See <see cref="BroadcastOptions.RevalidationInterval"/>.</param>
    /// <param name="time">The time provider.</param>
    public static AuthenticationMonitor? Create(
        Connection connection,
        DateTimeOffset? expires,
        IConnectionRevalidator? revalidator,
        TimeSpan interval,
        TimeProvider time) =>
        expires is null && revalidator is null
            ? null
            : new(connection, expires ?? DateTimeOffset.MaxValue, revalidator, interval, time);

    public void OnHeartbeat()
    {
        if (_time.GetUtcNow() < _nextCheck || Interlocked.Exchange(ref _isChecking, 1) != 0) return;
        // The revalidator is app code and may be slow. A separate task keeps the pump free for its other connections.
        if (_revalidator is { } revalidator) _ = Task.Run(() => CheckAsync(revalidator));
        else Expire();
    }

    /// <summary>Cancels a running check. The connection calls this method when it ends or gets a new monitor.</summary>
    public void Dispose()
    {
        _ended.Cancel();
        _ended.Dispose();
    }

    async Task CheckAsync(IConnectionRevalidator revalidator)
    {
        try
        {
            if (await revalidator.IsValidAsync(_connection, _ended.Token))
            {
                // The revalidator accepted an expired authentication. From now on, only the revalidator can end the
                // connection.
                if (_time.GetUtcNow() >= _expires) _expires = DateTimeOffset.MaxValue;
                ScheduleNextCheck();
                Volatile.Write(ref _isChecking, 0);
            }
            else if (!_ended.IsCancellationRequested)
            {
                Expire();
            }
        }
        catch (Exception exception)
        {
            if (!_ended.IsCancellationRequested) _connection.CloseFailed(exception);
        }
    }

    void ScheduleNextCheck()
    {
        var interval = _revalidator is null ? Timeout.InfiniteTimeSpan : _interval;
        var next = interval == Timeout.InfiniteTimeSpan ? DateTimeOffset.MaxValue : _time.GetUtcNow() + interval;
        _nextCheck = next < _expires ? next : _expires;
    }

    void Expire() => _connection.Close(
        EndReason.AuthenticationExpired, WebSocketCloseStatus.PolicyViolation, CloseReasons.AuthenticationExpired);
}
