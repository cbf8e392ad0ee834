using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Broadcast.Middleware;

/// <summary>What Linux tells of a TCP connection (tcp(7), <c>TCP_INFO</c>).</summary>
static class TcpInfo
{
    const int Tcp = 6, Info = 11, BytesAckedOffset = 120;

    /// <summary>How many bytes the peer's system has taken; null on other systems, and when the socket is closed.</summary>
    public static long? BytesAcknowledged(Socket socket)
    {
        if (!OperatingSystem.IsLinux()) return null;
        Span<byte> info = stackalloc byte[BytesAckedOffset + sizeof(long)];
        try
        {
            return socket.GetRawSocketOption(Tcp, Info, info) == info.Length ? MemoryMarshal.Read<long>(info[BytesAckedOffset..]) : null;
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            return null;
        }
    }
}
