using System.Net;
using System.Net.Sockets;

namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>Allocates TCP ports for servers.</summary>
/// <remarks>
/// The ports are below the range that Linux uses for clients. So no client takes the port of a stopped server before
/// the test starts the server again. The bus port of a Redis Cluster is 10,000 higher and is also below that range.
/// </remarks>
static class TestPorts
{
    const int First = 10_500, Last = 19_999;

    static int _next = Random.Shared.Next(First, Last);

    public static int Allocate()
    {
        while (true)
        {
            var port = First + Interlocked.Increment(ref _next) % (Last - First + 1);
            if (IsFree(port) && IsFree(port + 10_000)) return port;
        }
    }

    static bool IsFree(int port)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
