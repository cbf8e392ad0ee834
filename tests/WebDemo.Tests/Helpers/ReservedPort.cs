using System.Net;
using System.Net.Sockets;

namespace WebDemo.Tests;

/// <summary>
/// Reserves a free port of the loopback address. A program that listens on this port can stop and start again, and no other program
/// gets the port in between.
/// </summary>
sealed class ReservedPort : IDisposable
{
    // A socket that is bound but does not listen: the system gives its port to nobody, but another socket can listen on the port.
    readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);

    public ReservedPort()
    {
        _socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
        _socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
    }

    public int Number => ((IPEndPoint)_socket.LocalEndPoint!).Port;

    public void Dispose() => _socket.Dispose();
}
