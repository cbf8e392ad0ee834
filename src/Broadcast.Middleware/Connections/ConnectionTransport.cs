using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// The transport of a connection: a WebSocket or an event stream of one request. A client that reconnects gets a new
/// transport.
/// </summary>
abstract class ConnectionTransport
{
    DisconnectSource? _disconnected;
    bool _isAborting;
    bool _isReleased;

    /// <summary>Canceled when the client is gone. Valid until <see cref="Release"/>.</summary>
    public abstract CancellationToken ClientGone { get; }

    /// <summary>
    /// Returns a token that is canceled when the client is gone or the transport is released. The first call creates
    /// the token.
    /// </summary>
    /// <param name="connectionId">The ID of the connection, for the logger.</param>
    /// <param name="logger">Logs the exceptions of callbacks that the app registers with the token.</param>
    public CancellationToken GetDisconnectedToken(string connectionId, BroadcastLogger logger)
    {
        lock (this)
        {
            if (_isReleased) return new CancellationToken(canceled: true);
            if (_disconnected is null)
            {
                _disconnected = new DisconnectSource(connectionId, logger);
                ClientGone.UnsafeRegister(static source => ((DisconnectSource)source!).Cancel(), _disconnected);
            }

            return _disconnected.Token;
        }
    }

    /// <summary>True after <see cref="TryBeginAbort"/>.</summary>
    public bool IsAborting => Volatile.Read(ref _isAborting);

    /// <summary>Records that an abort starts. Returns true only for the first call.</summary>
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

    /// <summary>Ends the use of the request. Afterwards, the server may reuse the objects of the request.</summary>
    public void Release()
    {
        DisconnectSource? source;
        lock (this)
        {
            _isReleased = true;
            source = _disconnected;
        }

        // The cancellation runs callbacks of the app. These callbacks must not run on this thread.
        if (source is { Token.IsCancellationRequested: false })
            ThreadPool.UnsafeQueueUserWorkItem(static source => source.Cancel(), source, preferLocal: false);
    }

    protected abstract void AbortCore();
}
