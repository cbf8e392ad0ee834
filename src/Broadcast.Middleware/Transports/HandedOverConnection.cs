using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace Broadcast.Middleware.Transports;

/// <summary>A connection whose HTTP request has ended. The library owns the socket.</summary>
sealed class HandedOverConnection(ConnectionContext connection, InlineWriter? inlineWriter, HandoverListener listener)
{
    /// <summary>The socket. Null if the transport uses no socket.</summary>
    public Socket? Socket => connection.Features.Get<IConnectionSocketFeature>()?.Socket;

    /// <summary>Canceled when the client is gone.</summary>
    public CancellationToken Closed => connection.ConnectionClosed;

    public void Abort() => connection.Abort(new ConnectionAbortedException("The server has aborted the connection."));

    /// <summary>Sends the bytes that are already written, and then closes the socket.</summary>
    public async Task EndAsync()
    {
        try
        {
            if (inlineWriter is not null) await inlineWriter.FinishAsync();
            await connection.DisposeAsync();
        }
        finally
        {
            listener.Release();
        }
    }
}
