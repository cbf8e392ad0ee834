using System.Net;
using System.Net.Sockets;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Opens and resets the TCP connections of test clients.</summary>
static class ClientSockets
{
    /// <summary>Opens a TCP connection to the app.</summary>
    public static async Task<Socket> ConnectSocketAsync(this BroadcastApp app, int? receiveBuffer)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        // Set the size before connecting, because the offered TCP window depends on this size.
        if (receiveBuffer is { } size) socket.ReceiveBufferSize = size;
        try
        {
            await socket.ConnectAsync(IPAddress.Loopback, app.Port, TestContext.Current.CancellationToken);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Disconnects with a reset.</summary>
    public static void Reset(this Socket socket)
    {
        socket.LingerState = new LingerOption(true, 0);
        socket.Dispose();
    }
}
