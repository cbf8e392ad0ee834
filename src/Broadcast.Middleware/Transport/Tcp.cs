using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Broadcast.Middleware;

/// <summary>What Linux tells of, and lets one say about, a TCP connection (tcp(7)). Other systems are left alone.</summary>
static class Tcp
{
    const int Level = 6, Info = 11, BytesAckedOffset = 120, NotSentLowWater = 25;

    /// <summary>How many bytes the peer's system has taken (<c>TCP_INFO</c>); null if that is not known.</summary>
    public static long? BytesAcknowledged(Socket socket)
    {
        if (!OperatingSystem.IsLinux()) return null;
        Span<byte> info = stackalloc byte[BytesAckedOffset + sizeof(long)];
        try
        {
            return socket.GetRawSocketOption(Level, Info, info) == info.Length ? MemoryMarshal.Read<long>(info[BytesAckedOffset..]) : null;
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            return null;
        }
    }

    /// <summary>
    /// Lets no more bytes wait in the system than this (<c>TCP_NOTSENT_LOWAT</c>): what has been handed over cannot be replaced by what is
    /// newer, and the system would take megabytes.
    /// </summary>
    public static void LimitUnsent(Socket socket, int bytes)
    {
        if (!OperatingSystem.IsLinux()) return;
        try
        {
            socket.SetRawSocketOption(Level, NotSentLowWater, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(ref bytes)));
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // A connection that is gone, or one that is no TCP connection.
        }
    }
}
