using System.Diagnostics.CodeAnalysis;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// The transport of a connection: a WebSocket or an event stream of one request. A client that reconnects gets a new
/// transport.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "A source without a timer needs no disposal. Release cancels it.")]
abstract class ConnectionTransport
{
    CancellationTokenSource? _disconnected;
    bool _isAborting;
    bool _isReleased;

    /// <summary>Canceled when the client is gone. Valid until <see cref="Release"/>.</summary>
    public abstract CancellationToken ClientGone { get; }

    /// <summary>
    /// Canceled when the client is gone or the transport is released. The getter creates the token when first used.
    /// </summary>
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
        CancellationTokenSource? source;
        lock (this)
        {
            _isReleased = true;
            source = _disconnected;
        }

        // The cancellation runs callbacks of the app. These callbacks must not run on this thread.
        if (source is { IsCancellationRequested: false })
            ThreadPool.UnsafeQueueUserWorkItem(static source => source.Cancel(), source, preferLocal: false);
    }

    protected abstract void AbortCore();
}
