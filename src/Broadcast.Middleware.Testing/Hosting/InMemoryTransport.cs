using System.Net;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;

namespace Broadcast.Middleware.Testing.Hosting;

/// <summary>
/// Connects clients to Kestrel within one process, without sockets. Kestrel handles these connections in the same way
/// as TCP connections.
/// </summary>
sealed class InMemoryTransport : IConnectionListenerFactory, IConnectionListenerFactorySelector, IConnectionListener
{
    readonly Channel<InMemoryConnection> _connecting = Channel.CreateUnbounded<InMemoryConnection>();

    public EndPoint EndPoint { get; } = new InMemoryEndPoint();

    public bool CanBind(EndPoint endpoint) => endpoint == EndPoint;

    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken) =>
        new(this);

    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken)
    {
        while (await _connecting.Reader.WaitToReadAsync(cancellationToken).ConfigureAwait(false))
        {
            if (_connecting.Reader.TryRead(out var connection)) return connection;
        }

        return null;
    }

    /// <summary>Opens a connection. Throws an exception if the server has stopped.</summary>
    public InMemoryStream Connect(TestClientState client)
    {
        var connection = new InMemoryConnection(client);
        if (_connecting.Writer.TryWrite(connection)) return connection.Client;
        throw new BroadcastTestException("The host has stopped, so a client cannot connect. Start a new host.");
    }

    public ValueTask UnbindAsync(CancellationToken cancellationToken)
    {
        _connecting.Writer.TryComplete();
        return default;
    }

    public ValueTask DisposeAsync()
    {
        _connecting.Writer.TryComplete();
        return default;
    }
}
