namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Watches one client. If the client is silent for some time, the server sends a ping (RFC 6455, section 5.5.2). A
/// client that stays silent counts as lost.
/// </summary>
/// <remarks>
/// The timeout starts when the ping is due, so a client that does not receive the ping also counts as lost.
/// </remarks>
struct KeepAlive
{
    int _received;
    long _since;
    bool _isPinging;
    bool _pingIsDue;
    bool _messageIsDue;

    /// <summary>The last beat at which this object checked the client.</summary>
    public int Beat { get; private set; }

    /// <summary>Checks the client at a heartbeat. Returns true if the client is lost.</summary>
    /// <param name="beat">The number of this beat.</param>
    /// <param name="now">See <see cref="Heartbeat.Now"/>.</param>
    /// <param name="settings">The settings of the connection.</param>
    /// <param name="received">
    /// A counter that changes when the client sends bytes. Null if this object does not watch the client.
    /// </param>
    /// <param name="isSilenceAllowed">
    /// True if a silent client may still be alive, for example because the server does not read from the client.
    /// </param>
    public bool IsPeerLost(int beat, long now, EndpointSettings settings, int? received, bool isSilenceAllowed)
    {
        var isFirst = Beat == 0;
        Beat = beat;
        if (received is not { } count) return false;
        if (isFirst || isSilenceAllowed || count != _received)
        {
            (_received, _since, _isPinging, _pingIsDue) = (count, now, false, false);
            return false;
        }

        if (_isPinging) return HasPassed(settings.KeepAliveTimeout, now);
        if (!HasPassed(settings.KeepAliveInterval, now)) return false;
        (_since, _isPinging, _pingIsDue) = (now, true, true);
        return false;
    }

    /// <summary>Returns true if a ping is due, but only once for each ping.</summary>
    public bool TakePing()
    {
        var isDue = _pingIsDue;
        _pingIsDue = false;
        return isDue;
    }

    /// <summary>Checks at a heartbeat whether a heartbeat message is due. Call this method before IsPeerLost.</summary>
    /// <param name="beat">The number of this beat.</param>
    /// <param name="interval">
    /// The number of beats in <see cref="BroadcastOptions.HeartbeatInterval"/>. The method compares numbers of beats,
    /// so a connection does not store the time of its last message.
    /// </param>
    /// <param name="offset">A number that spreads the messages of the connections over the interval.</param>
    public void CheckMessage(int beat, int interval, int offset)
    {
        if (Beat != 0 && (beat + offset) / interval != (Beat + offset) / interval) _messageIsDue = true;
    }

    /// <summary>Returns true if a heartbeat message is due, but only once for each message.</summary>
    public bool TakeMessage()
    {
        var isDue = _messageIsDue;
        _messageIsDue = false;
        return isDue;
    }

    readonly bool HasPassed(TimeSpan timeout, long now) =>
        timeout != Timeout.InfiniteTimeSpan && now - _since >= timeout.TotalMilliseconds;
}
