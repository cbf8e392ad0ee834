using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Broadcast.Benchmarks;

/// <summary>
/// Reads the sockets of many clients in another process, so that the measured CPU time does not include the clients.
/// </summary>
sealed class SocketReader : IDisposable
{
    readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    readonly Process _process;

    public SocketReader()
    {
        _listener.Start();
        var port = ((IPEndPoint)_listener.LocalEndpoint).Port;
        // With "dotnet Broadcast.Benchmarks.dll", the path of the process is the path of dotnet. So pass the path of the DLL.
        string[] program = Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet" ? [typeof(SocketReader).Assembly.Location] : [];
        _process = Process.Start(Environment.ProcessPath!, [.. program, "read-sockets", $"{port}"]);
    }

    /// <summary>Returns the server side of a new connection.</summary>
    public Stream Accept()
    {
        var socket = _listener.AcceptSocket();
        socket.NoDelay = true;
        return new NetworkStream(socket, ownsSocket: true);
    }

    public void Dispose()
    {
        _listener.Dispose();
        if (!_process.HasExited) _process.Kill();
        _process.Dispose();
    }

    /// <summary>The main method of the other process: connects to the server, and reads until the server closes all connections.</summary>
    public static void Run(int port)
    {
        const int Connections = SubscriptionFilterCost.Members;
        var sockets = new List<Socket>();
        for (var i = 0; i < Connections; i++)
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
            socket.Connect(IPAddress.Loopback, port);
            sockets.Add(socket);
        }

        var buffer = new byte[64 * 1024];
        while (sockets.Count > 0)
        {
            var readable = sockets.ToList();
            Socket.Select(readable, null, null, -1);
            foreach (var socket in readable)
            {
                if (socket.Receive(buffer) == 0) sockets.Remove(socket);
            }
        }
    }
}
