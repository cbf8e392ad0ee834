using System.Diagnostics.CodeAnalysis;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// The transport of a connection: a WebSocket or an event stream of one request. A client that reconnects brings
/// another transport.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "A source without a timer needs no disposal. Release cancels it.")]
abstract class ConnectionTransport
{
    CancellationTokenSource? _disconnected;
    bool _isAborting;
    bool _isReleased;

    /// <summary>Canceled when the client is gone. Valid until <see cref="Release"/>.</summary>
    public abstract CancellationToken ClientGone { get; }

    /// <summary>Canceled when the client is gone or the transport is released. Created on request.</summary>
    public CancellationToken Disconnected
    {
        get
        {
            lock (this)
            {
                if (_isReleased) return new CancellationToken(canceled: true);
                if (_disconnected is null)
                {
                    _disconnected = new CancellationTokenSource();
                    ClientGone.UnsafeRegister(
                        static source => ((CancellationTokenSource)source!).Cancel(), _disconnected);
                }

                return _disconnected.Token;
            }
        }
    }

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
    /// <returns>The source to cancel, which runs callbacks of the app. Null if there is none.</returns>
    public CancellationTokenSource? Release()
    {
        lock (this)
        {
            _isReleased = true;
            return _disconnected is { IsCancellationRequested: false } ? _disconnected : null;
        }
    }

    protected abstract void AbortCore();
}
