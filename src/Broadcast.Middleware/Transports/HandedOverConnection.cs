using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace Broadcast.Middleware.Transports;

/// <summary>A connection whose HTTP request has ended. The library owns the socket.</summary>
sealed class HandedOverConnection(ConnectionContext connection, InlineWriter? inlineWriter, HandoverListener listener)
{
    static readonly TimeSpan MaxCloseTime = TimeSpan.FromSeconds(5);

    /// <summary>The socket. Null if the transport uses no socket.</summary>
    public Socket? Socket => connection.Features.Get<IConnectionSocketFeature>()?.Socket;

    /// <summary>Canceled when the client has disconnected.</summary>
    public CancellationToken Closed => connection.ConnectionClosed;

    public void Abort() => connection.Abort(new ConnectionAbortedException("The server has aborted the connection."));

    /// <summary>
    /// Sends the bytes that are already written, and then closes the socket. If the client does not receive the bytes
    /// in time, the method aborts the connection.
    /// </summary>
    public async Task EndAsync()
    {
        if (inlineWriter is not null) await inlineWriter.FinishAsync();
        var closing = connection.DisposeAsync().AsTask();
        await ((Task)closing.WaitAsync(MaxCloseTime)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (!closing.IsCompleted) Abort();
        await closing;
    }

    /// <summary>
    /// Lets the server shut down without waiting for this connection. Call this method after the disconnect filters
    /// have run. If the client may reconnect, these filters run later than <see cref="EndAsync"/>.
    /// </summary>
    public void Release() => listener.Release();
}
