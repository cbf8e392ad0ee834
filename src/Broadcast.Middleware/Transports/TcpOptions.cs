using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Broadcast.Middleware.Transports;

/// <summary>
/// Reads and sets TCP options of Linux (tcp(7)). On other operating systems, the methods have no effect.
/// </summary>
static class TcpOptions
{
    const int Level = 6, Info = 11, BytesAckedOffset = 120, NotSentLowWater = 25;

    /// <summary>
    /// Returns the number of bytes that the peer has acknowledged (<c>TCP_INFO</c>). Returns null if the number is
    /// unknown.
    /// </summary>
    public static long? GetAcknowledgedBytes(Socket socket)
    {
        if (!OperatingSystem.IsLinux()) return null;
        Span<byte> info = stackalloc byte[BytesAckedOffset + sizeof(long)];
        try
        {
            var isComplete = socket.GetRawSocketOption(Level, Info, info) == info.Length;
            return isComplete ? MemoryMarshal.Read<long>(info[BytesAckedOffset..]) : null;
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            return null;
        }
    }

    /// <summary>
    /// Limits the unsent bytes in the send buffer of the operating system (<c>TCP_NOTSENT_LOWAT</c>). Newer messages
    /// cannot replace bytes in this buffer. Without a limit, the buffer can contain megabytes.
    /// </summary>
    public static void LimitUnsentBytes(Socket socket, int bytes)
    {
        if (!OperatingSystem.IsLinux()) return;
        try
        {
            socket.SetRawSocketOption(Level, NotSentLowWater, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(ref bytes)));
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The connection is closed, or the socket is not a TCP socket.
        }
    }
}
