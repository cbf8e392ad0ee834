namespace Broadcast.Middleware.Connections;

/// <summary>
/// The transport of a connection: a WebSocket or an event stream of one request. A client that reconnects brings
/// another transport.
/// </summary>
abstract class ConnectionTransport
{
    bool _isAborting;
    bool _isReleased;

    /// <summary>Canceled when the client is gone.</summary>
    public abstract CancellationToken ClientGone { get; }

    /// <summary>Claims the abort. Returns true only to the first caller.</summary>
    public bool TryBeginAbort() => !Interlocked.Exchange(ref _isAborting, true);

    /// <summary>
    /// Ends the transport and its pending reads and writes. A call after <see cref="Release"/> has no effect.
    /// </summary>
    public void Abort()
    {
        lock (this)
        {
            if (!_isReleased) AbortCore();
        }
    }

    /// <summary>Ends the use of the request. The server reuses the objects of the request afterwards.</summary>
    public void Release()
    {
        lock (this) _isReleased = true;
    }

    protected abstract void AbortCore();
}
