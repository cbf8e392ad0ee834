using System.Net;
using System.Net.Sockets;
using System.Net.WebSockets;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>One HTTP/2 connection without TLS that carries WebSockets (RFC 8441).</summary>
sealed class Http2Client : IDisposable
{
    readonly BroadcastApp _app;
    readonly HttpMessageInvoker _invoker;
    Socket? _socket;

    public Http2Client(BroadcastApp app)
    {
        _app = app;
        _invoker = new HttpMessageInvoker(new SocketsHttpHandler { ConnectCallback = ConnectAsync });
    }

    /// <summary>Opens a WebSocket with <see cref="ClientWebSocket"/>.</summary>
    public async Task<ClientWebSocket> OpenAsync(string path = "/ws")
    {
        var webSocket = new ClientWebSocket();
        webSocket.Options.HttpVersion = HttpVersion.Version20;
        webSocket.Options.HttpVersionPolicy = HttpVersionPolicy.RequestVersionExact;
        await webSocket.ConnectAsync(new Uri($"ws://127.0.0.1:{_app.Port}{path}"), _invoker, TestContext.Current.CancellationToken);
        return webSocket;
    }

    /// <summary>Opens a WebSocket as a raw stream. The client has joined its group when the task completes.</summary>
    public async Task<RawClient> OpenRawAsync(string path = "/ws")
    {
        var client = await HandshakeAsync(path);
        await client.JoinedAsync();
        return client;
    }

    /// <summary>Sends the handshake without reading a frame.</summary>
    public async Task<RawClient> HandshakeAsync(string path, string? subprotocol = null, string? extensions = null)
    {
        var request = Request(HttpMethod.Connect, path);
        request.Headers.Protocol = "websocket";
        request.Headers.Add("Sec-WebSocket-Version", "13");
        if (subprotocol is not null) request.Headers.Add("Sec-WebSocket-Protocol", subprotocol);
        if (extensions is not null) request.Headers.Add("Sec-WebSocket-Extensions", extensions);
        var response = await _invoker.SendAsync(request, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var stream = await response.Content.ReadAsStreamAsync(TestContext.Current.CancellationToken);
        return new RawClient(stream) { HasCompression = response.Headers.Contains("Sec-WebSocket-Extensions") };
    }

    public Task<HttpResponseMessage> GetAsync(string path = "/ws", params (string Name, string Value)[] headers)
    {
        var request = Request(HttpMethod.Get, path);
        foreach (var (name, value) in headers) request.Headers.Add(name, value);
        return _invoker.SendAsync(request, TestContext.Current.CancellationToken);
    }

    /// <summary>Resets the TCP connection and all its WebSockets.</summary>
    public void Reset() => _socket!.Reset();

    public void Dispose() => _invoker.Dispose();

    HttpRequestMessage Request(HttpMethod method, string path) => new(method, $"http://127.0.0.1:{_app.Port}{path}")
    {
        Version = HttpVersion.Version20,
        VersionPolicy = HttpVersionPolicy.RequestVersionExact,
    };

    async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
    {
        _socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await _socket.ConnectAsync(context.DnsEndPoint, cancellationToken);
        return new NetworkStream(_socket, ownsSocket: true);
    }
}
