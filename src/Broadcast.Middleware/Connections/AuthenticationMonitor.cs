namespace Broadcast.Middleware.Connections;

/// <summary>
/// Closes a connection when its authentication expires, or when an <see cref="IConnectionRevalidator"/> rejects the
/// connection. The pump calls the monitor at each heartbeat.
/// </summary>
/// <remarks>
/// A connection keeps its monitor when the client reconnects. Otherwise, a client that reconnects often could postpone
/// the next call of the revalidator, or make the server ignore the result of a running call.
/// </remarks>
sealed class AuthenticationMonitor : IDisposable
{
    const long Never = long.MaxValue;
    const long Ended = long.MinValue;

    readonly Connection _connection;
    readonly IConnectionRevalidator? _revalidator;
    readonly TimeSpan _interval;
    readonly TimeProvider _time;
    readonly CancellationTokenSource _ended = new();

    RenewableTicket? _ticket;

    // _expires and _nextRevalidation are UTC ticks. After _expires has the value Ended, _expires never changes, because
    // the server closes the connection.
    long _expires;
    long _nextRevalidation;
    int _isChecking;

    AuthenticationMonitor(
        Connection connection, IConnectionRevalidator? revalidator, TimeSpan interval, TimeProvider time)
    {
        (_connection, _revalidator, _interval, _time) = (connection, revalidator, interval, time);
        ScheduleRevalidation();
    }

    /// <summary>
    /// Creates a monitor. Returns null if the authentication never expires and the app has no revalidator.
    /// </summary>
    /// <param name="connection">The connection.</param>
    /// <param name="expires">
    /// The time at which the authentication expires. Null if the authentication never expires.
    /// </param>
    /// <param name="ticket">The cookie of the connection. Null if the cookie cannot be renewed.</param>
    /// <param name="revalidator">The revalidator of the app. Null if the app has no revalidator.</param>
    /// <param name="interval">See <see cref="BroadcastOptions.RevalidationInterval"/>.</param>
    /// <param name="time">The time provider.</param>
    public static AuthenticationMonitor? Create(
        Connection connection,
        DateTimeOffset? expires,
        RenewableTicket? ticket,
        IConnectionRevalidator? revalidator,
        TimeSpan interval,
        TimeProvider time)
    {
        if (expires is null && revalidator is null) return null;
        var monitor = new AuthenticationMonitor(connection, revalidator, interval, time);
        monitor.SetExpiration(expires, ticket);
        return monitor;
    }

    /// <summary>
    /// Sets the expiration and the cookie of the newest request. Null for <paramref name="expires"/> means that the
    /// authentication never expires.
    /// </summary>
    public void SetExpiration(DateTimeOffset? expires, RenewableTicket? ticket)
    {
        _ticket = ticket;
        TryExtend(expires);
    }

    /// <summary>
    /// Replaces the time at which the authentication expires. Null means that the authentication never expires. Returns
    /// false if the server already closes the connection because of an expired or rejected authentication.
    /// </summary>
    public bool TryExtend(DateTimeOffset? expires)
    {
        while (true)
        {
            var known = Volatile.Read(ref _expires);
            if (known == Ended) return false;
            if (Interlocked.CompareExchange(ref _expires, expires?.UtcTicks ?? Never, known) == known) return true;
        }
    }

    public void OnHeartbeat()
    {
        var now = Now;
        ExtendIfRenewed(now);
        if (!IsDue(now) || Interlocked.Exchange(ref _isChecking, 1) != 0) return;
        // Another check may have ended between the two conditions. Then no check is due.
        if (!IsDue(now))
        {
            Volatile.Write(ref _isChecking, 0);
            return;
        }

        // The revalidator is app code and may be slow. A separate task keeps the pump free for its other connections.
        if (_revalidator is { } revalidator) _ = Task.Run(() => CheckAsync(revalidator));
        else if (TryEnd(now)) Expire();
        // Another request has just extended the authentication.
        else Volatile.Write(ref _isChecking, 0);
    }

    /// <summary>Cancels a running check. The connection calls this method when the connection ends.</summary>
    public void Dispose()
    {
        try
        {
            _ended.Cancel();
        }
        catch (Exception exception)
        {
            // A callback of the revalidator threw an exception. The connection must still end.
            _connection.OnCallbackFailed(exception);
        }

        _ended.Dispose();
    }

    long Now => _time.GetUtcNow().UtcTicks;

    bool IsDue(long now) => now >= Volatile.Read(ref _expires) || now >= Volatile.Read(ref _nextRevalidation);

    /// <summary>
    /// Extends an expired authentication if another request has renewed the cookie of the connection.
    /// </summary>
    void ExtendIfRenewed(long now)
    {
        var expires = Volatile.Read(ref _expires);
        if (now < expires || expires == Ended || _ticket?.GetRenewedExpiration() is not { } renewed) return;
        Interlocked.CompareExchange(ref _expires, renewed.UtcTicks, expires);
    }

    /// <summary>
    /// Ends an expired authentication. Returns false if the authentication has not expired. After the end, no request
    /// can extend the authentication. Otherwise, the server could confirm an extension and then close the connection.
    /// </summary>
    bool TryEnd(long now)
    {
        var expires = Volatile.Read(ref _expires);
        return now >= expires && Interlocked.CompareExchange(ref _expires, Ended, expires) == expires;
    }

    async Task CheckAsync(IConnectionRevalidator revalidator)
    {
        try
        {
            var expires = Volatile.Read(ref _expires);
            // Compare the times before the call. If the authentication expires during the call, the answer does not
            // cover the expiration. The next heartbeat then asks the revalidator again.
            var hasExpired = Now >= expires;
            if (await revalidator.IsValidAsync(_connection, _ended.Token))
            {
                // The revalidator accepted an expired authentication. From now on, the authentication ends only when
                // the revalidator rejects the connection. If the client has reconnected in the meantime, the new
                // authentication still expires.
                if (hasExpired) Interlocked.CompareExchange(ref _expires, Never, expires);
                ScheduleRevalidation();
                Volatile.Write(ref _isChecking, 0);
            }
            else if (!_ended.IsCancellationRequested)
            {
                // The rejection also ends an authentication that another request has extended during the check.
                // Otherwise, a client could avoid every rejection by extending its authentication repeatedly.
                Volatile.Write(ref _expires, Ended);
                Expire();
            }
        }
        catch (Exception exception)
        {
            if (_ended.IsCancellationRequested) return;
            _connection.CloseFailed(exception);
            // If the check was canceled because the client disconnected, the connection waits for a reconnect. So check
            // again at the next heartbeat.
            if (_connection.Writer.ClosingStatus is null) Volatile.Write(ref _isChecking, 0);
        }
    }

    void ScheduleRevalidation() => Volatile.Write(
        ref _nextRevalidation,
        _revalidator is null || _interval == Timeout.InfiniteTimeSpan ? Never : Now + _interval.Ticks);

    void Expire() => _connection.ExpireAuthentication();
}
