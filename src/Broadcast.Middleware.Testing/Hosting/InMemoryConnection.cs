using System.IO.Pipelines;
using System.Net;
using Microsoft.AspNetCore.Connections;

namespace Broadcast.Middleware.Testing.Hosting;

/// <summary>The server's side of a connection without sockets.</summary>
sealed class InMemoryConnection : DefaultConnectionContext, IDuplexPipe
{
    const int RequestBytes = 64 * 1024;

    static int _lastPort = 49_151;

    readonly CancellationTokenSource _closed = new();

    public InMemoryConnection(TestClientState client)
    {
        var requests = CreatePipe(RequestBytes);
        var responses = CreatePipe(client.Options.ReceiveBufferBytes);
        (Input, Output) = (requests.Reader, responses.Writer);
        Transport = this;
        Client = new InMemoryStream(responses.Reader, requests.Writer, OnClientEnded);
        ConnectionId = Guid.NewGuid().ToString("N");
        ConnectionClosed = _closed.Token;
        // A server with sockets sees a new port for each connection.
        var port = 49_152 + (Interlocked.Increment(ref _lastPort) & 0x3FFF);
        RemoteEndPoint = new IPEndPoint(client.Options.RemoteAddress, port);
        LocalEndPoint = new IPEndPoint(IPAddress.Loopback, 80);
        Features.Set(client);
    }

    /// <summary>The client's side of the connection.</summary>
    public InMemoryStream Client { get; }

    public PipeReader Input { get; }

    public PipeWriter Output { get; }

    public override void Abort(ConnectionAbortedException abortReason)
    {
        Client.OnServerAborted();
        OnClientEnded();
    }

    public override async ValueTask DisposeAsync()
    {
        await Input.CompleteAsync().ConfigureAwait(false);
        await Output.CompleteAsync().ConfigureAwait(false);
        await base.DisposeAsync().ConfigureAwait(false);
    }

    void OnClientEnded() => ThreadPool.UnsafeQueueUserWorkItem(static closed => closed.Cancel(), _closed, false);

    static Pipe CreatePipe(int bytes) => new(new PipeOptions(
        pauseWriterThreshold: bytes, resumeWriterThreshold: Math.Max(1, bytes / 2), useSynchronizationContext: false));
}
