using System.Net.Sockets;
using System.Text;

namespace WebDemo.Tests;

/// <summary>A proxy for several servers. The proxy connects each client to the next server that accepts the connection.</summary>
sealed class LoadBalancer(IReadOnlyList<Uri> servers) : TcpProxy(servers[0])
{
    const int ChunkBytes = 4096;

    int _nextServer;
    int _recoveryAttempts;
    int _recoveries;

    /// <summary>The number of connections that asked to recover an earlier connection.</summary>
    public int RecoveryAttempts => Volatile.Read(ref _recoveryAttempts);

    /// <summary>The number of successful recoveries.</summary>
    public int Recoveries => Volatile.Read(ref _recoveries);

    /// <summary>Resets each connection to a server if its request URL contains the query. Returns the number of reset connections.</summary>
    public int ResetConnections(Uri server, string query) =>
        ResetConnections(connection => connection is Connection { Port: var port, RequestUrl: var url } && port == server.Port && url.Contains(query, StringComparison.Ordinal));

    protected override async Task<Socket?> ConnectToServerAsync()
    {
        for (var attempt = 0; attempt < servers.Count; attempt++)
        {
            var server = servers[(Interlocked.Increment(ref _nextServer) & int.MaxValue) % servers.Count];
            if (await ConnectAsync(server.Port) is { } socket) return socket;
        }

        return null;
    }

    protected override ProxyConnection CreateConnection(Socket client, Socket server) => new Connection(this, client, server);

    sealed class Connection(LoadBalancer balancer, Socket client, Socket server) : ProxyConnection(client, server, ChunkBytes)
    {
        bool _isRecovery;
        bool _hasResult;

        public int Port { get; } = ((System.Net.IPEndPoint)server.RemoteEndPoint!).Port;

        public string RequestUrl { get; private set; } = "";

        protected override Task ForwardAsync(ReadOnlyMemory<byte> bytes, Socket to, bool isRequest)
        {
            if (isRequest && RequestUrl == "") ReadRequest(Encoding.Latin1.GetString(bytes.Span));
            if (!isRequest && _isRecovery && !_hasResult) ReadResponse(Encoding.Latin1.GetString(bytes.Span));
            return base.ForwardAsync(bytes, to, isRequest);
        }

        void ReadRequest(string text)
        {
            RequestUrl = text.Split(' ', 3)[1];
            _isRecovery = RequestUrl.Contains("awps_reconnection_token=", StringComparison.Ordinal);
            if (_isRecovery) Interlocked.Increment(ref balancer._recoveryAttempts);
        }

        void ReadResponse(string text)
        {
            _hasResult = text.Contains("\"connected\"", StringComparison.Ordinal);
            if (_hasResult) Interlocked.Increment(ref balancer._recoveries);
        }
    }
}
