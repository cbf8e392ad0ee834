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
    /// Disposes the inner listener when all connections that were handed over have ended. These connections use memory
    /// of the listener.
    /// </summary>
    /// <remarks>
    /// If the app is stopping, the method waits until these connections have ended. So the server does not stop before
    /// the drain is complete. A filter that never returns can keep a connection open, so the wait is limited. Kestrel
    /// also disposes a listener when the configuration of its endpoint changes. In this case, the clients of the
    /// endpoint stay connected. When the app stops later, <see cref="HandoverOptions.WaitAtShutdown"/> makes the app
    /// wait for these clients.
    /// </remarks>
    public async ValueTask DisposeAsync()
    {
        if (!Interlocked.Exchange(ref _isDisposed, true)) Release();
        var disposing = DisposeWhenIdleAsync();
        if (options.Stopping.IsCancellationRequested) await disposing;
        else options.WaitAtShutdown(disposing);
    }

    /// <summary>Keeps the listener open until the call of <see cref="Release"/>.</summary>
    public void Retain() => Interlocked.Increment(ref _uses);

    public void Release()
    {
        // A connection may be handed over after the server has stopped waiting, so the number can become 0 twice.
        if (Interlocked.Decrement(ref _uses) == 0) _idle.TrySetResult();
    }

    async Task DisposeWhenIdleAsync()
    {
        await _idle.Task.WaitAsync(options.Abandoned).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await listener.DisposeAsync();
    }
}
