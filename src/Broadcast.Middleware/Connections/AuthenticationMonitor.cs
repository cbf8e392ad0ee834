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
    DateTimeOffset _nextRevalidation;
    int _isChecking;

    AuthenticationMonitor(
        Connection connection,
        DateTimeOffset expires,
        IConnectionRevalidator? revalidator,
        TimeSpan interval,
        DateTimeOffset? nextRevalidation,
        TimeProvider time)
    {
        (_connection, _expires, _revalidator, _interval, _time) = (connection, expires, revalidator, interval, time);
        ScheduleRevalidation();
        // A client must not postpone the next call of the revalidator by a reconnect.
        if (nextRevalidation < _nextRevalidation) _nextRevalidation = nextRevalidation.Value;
    }

    /// <summary>The time of the next call of the revalidator.</summary>
    public DateTimeOffset NextRevalidation => _nextRevalidation;

    /// <summary>Creates a monitor. Returns null if nothing about the connection can expire.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="expires">The time at which the authentication expires. Null if it does not expire.</param>
    /// <param name="revalidator">The revalidator of the app. Null if there is none.</param>
    /// <param name="interval">See <see cref="BroadcastOptions.RevalidationInterval"/>.</param>
    /// <param name="nextRevalidation">
    /// The next call of the revalidator before a reconnect. Null for a new connection.
    /// </param>
    /// <param name="time">The time provider.</param>
    public static AuthenticationMonitor? Create(
        Connection connection,
        DateTimeOffset? expires,
        IConnectionRevalidator? revalidator,
        TimeSpan interval,
        DateTimeOffset? nextRevalidation,
        TimeProvider time) =>
        expires is null && revalidator is null
            ? null
            : new(connection, expires ?? DateTimeOffset.MaxValue, revalidator, interval, nextRevalidation, time);

    public void OnHeartbeat()
    {
        var now = _time.GetUtcNow();
        if ((now < _expires && now < _nextRevalidation) || Interlocked.Exchange(ref _isChecking, 1) != 0) return;
        // The revalidator is code of the app, which must not delay the other connections of the pump.
        if (_revalidator is { } revalidator) _ = BackgroundWork.Run(() => CheckAsync(revalidator));
        else Expire();
    }

    /// <summary>
    /// Cancels a running check, because the connection has ended or another monitor replaces this one.
    /// </summary>
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
                // The revalidator has accepted an expired authentication, so the expiry no longer counts.
                if (_time.GetUtcNow() >= _expires) _expires = DateTimeOffset.MaxValue;
                ScheduleRevalidation();
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

    void ScheduleRevalidation() => _nextRevalidation = _revalidator is null || _interval == Timeout.InfiniteTimeSpan
        ? DateTimeOffset.MaxValue
        : _time.GetUtcNow() + _interval;

    void Expire() => _connection.Close(
        EndReason.AuthenticationExpired, WebSocketCloseStatus.PolicyViolation, CloseReasons.AuthenticationExpired);
}
