namespace Broadcast.Middleware.Connections;

/// <summary>Limits the number of connections that wait for their clients to reconnect.</summary>
/// <param name="maxSessions">See <see cref="BroadcastOptions.MaxDisconnectedSessions"/>.</param>
sealed class DisconnectedSessions(int maxSessions)
{
    // A waiting connection keeps its request open. By default, Kestrel allows 100 open requests for one HTTP/2
    // connection. If too many requests stay open, Kestrel closes the whole HTTP/2 connection.
    const int MaxPerHttp2Connection = 32;

    readonly Dictionary<string, int> _perHttp2Connection = new(StringComparer.Ordinal);
    readonly Lock _gate = new();
    int _count;
    bool _isClosed;

    /// <summary>Counts a connection. Returns false if a limit is reached or the app is shutting down.</summary>
    /// <param name="http2ConnectionId">The ID of the HTTP/2 connection. Null for other HTTP versions.</param>
    public bool TryEnter(string? http2ConnectionId)
    {
        lock (_gate)
        {
            if (_isClosed || _count == maxSessions) return false;
            if (ConnectionLimits.IsFull(_perHttp2Connection, http2ConnectionId, MaxPerHttp2Connection)) return false;
            Change(http2ConnectionId, 1);
            return true;
        }
    }

    /// <summary>Reverts <see cref="TryEnter"/>.</summary>
    public void Leave(string? http2ConnectionId)
    {
        lock (_gate) Change(http2ConnectionId, -1);
    }

    /// <summary>Rejects all further connections, because the app is shutting down.</summary>
    public void Close()
    {
        lock (_gate) _isClosed = true;
    }

    void Change(string? http2ConnectionId, int change)
    {
        _count += change;
        ConnectionLimits.Add(_perHttp2Connection, http2ConnectionId, change);
    }
}
