using System.Net;
using Microsoft.AspNetCore.Connections;

namespace Broadcast.Middleware.Transports;

/// <summary>
/// Accepts connections. The listener stays open until all connections that were handed over have ended.
/// </summary>
sealed class HandoverListener(IConnectionListener listener, HandoverOptions options) : IConnectionListener
{
    readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // The number of connections that are handed over, plus one until the listener is disposed.
    int _uses = 1;
    bool _isDisposed;

    public EndPoint EndPoint => listener.EndPoint;

    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default) =>
        await listener.AcceptAsync(cancellationToken) is { } connection
            ? new HandoverConnection(connection, this, options)
            : null;

    public ValueTask UnbindAsync(CancellationToken cancellationToken = default) =>
        listener.UnbindAsync(cancellationToken);

    /// <summary>
    /// Waits for the connections that are handed over, and then disposes the inner listener. The connections use
    /// memory of the inner listener. A filter that never returns can keep a connection open, so the wait is limited.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (!Interlocked.Exchange(ref _isDisposed, true)) Release();
        await _idle.Task.WaitAsync(options.Abandoned).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await listener.DisposeAsync();
    }

    /// <summary>Keeps the listener open until the call of <see cref="Release"/>.</summary>
    public void Retain() => Interlocked.Increment(ref _uses);

    public void Release()
    {
        if (Interlocked.Decrement(ref _uses) == 0) _idle.SetResult();
    }
}
