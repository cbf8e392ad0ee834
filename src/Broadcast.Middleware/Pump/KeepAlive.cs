namespace Broadcast.Middleware;

/// <summary>Watches one peer: a ping (RFC 6455, section 5.5.2) after some silence, and it is lost if nothing is heard in time after that.</summary>
/// <remarks>The time runs from when the ping is due, so that a peer that does not take it is lost too.</remarks>
struct KeepAlive
{
    int _heard;
    long _since;
    bool _isPinging;
    bool _pingIsDue;

    /// <summary>The heartbeat at which the peer was last looked at.</summary>
    public int Beat { get; private set; }

    /// <param name="heartbeat">What has beaten.</param>
    /// <param name="heard">Grows when the peer sends something; null if it is not to be watched.</param>
    /// <param name="isBusy">Whether nothing is read from the peer for the moment, so that it could not be heard.</param>
    public bool IsPeerLost(Heartbeat heartbeat, int? heard, bool isBusy)
    {
        var isFirst = Beat == 0;
        Beat = heartbeat.Beat;
        if (heard is not { } count) return false;
        var now = heartbeat.Now;
        if (isFirst || isBusy || count != _heard)
        {
            (_heard, _since, _isPinging, _pingIsDue) = (count, now, false, false);
            return false;
        }

        if (_isPinging) return heartbeat.KeepAliveTimeout != int.MaxValue && now - _since >= heartbeat.KeepAliveTimeout;
        if (heartbeat.KeepAliveInterval == int.MaxValue || now - _since < heartbeat.KeepAliveInterval) return false;
        (_since, _isPinging, _pingIsDue) = (now, true, true);
        return false;
    }

    /// <summary>Whether a ping is due; once.</summary>
    public bool TakePing()
    {
        var isDue = _pingIsDue;
        _pingIsDue = false;
        return isDue;
    }
}
