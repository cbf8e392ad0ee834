using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Helpers for clients that do not read. The socket buffers of such clients are small, so a write soon stalls.</summary>
static class Stall
{
    public const int SmallWindow = 4096;

    /// <summary>A number of bytes that exceeds the capacity of small socket buffers and of the server's own buffer.</summary>
    public const int FillBytes = 512 * 1024;

    const int FillMessage = 16 * 1024;

    /// <summary>Makes the server's send buffers small, so that writes stall early if a client does not read.</summary>
    public static void SmallSendBuffers(WebApplicationBuilder builder) => builder.Services.Configure<SocketTransportOptions>(sockets =>
        sockets.CreateBoundListenSocket = endpoint =>
        {
            // Accepted sockets inherit the buffer size.
            var socket = SocketTransportOptions.CreateDefaultBoundListenSocket(endpoint);
            socket.SendBufferSize = SmallWindow;
            return socket;
        });

    public static Task<RawClient> OpenAsync(BroadcastApp app) => RawClient.OpenAsync(app, receiveBuffer: SmallWindow);

    /// <summary>Sends messages to the connection until a write waits, and returns the number of messages.</summary>
    public static async Task<int> FillAsync(BroadcastApp app, Meters meters, string connectionId)
    {
        var writer = ((Connection)app.Registry.Find(connectionId)!).Writer;
        var pump = writer.Pump;
        var before = meters.Delivered;
        for (var sent = 1; ; sent++)
        {
            await app.Broadcaster.PublishAsync(new byte[FillMessage], Recipients.Connection(connectionId), cancellationToken: TestContext.Current.CancellationToken);
            // A write may wait only for a moment. So the test assumes that the client has stalled after 60 checks that find a
            // waiting write and no progress. Each check waits for the pump, so a busy machine only makes the checks slower.
            for (var looks = 0; meters.Delivered < before + sent;)
            {
                if (looks == 60) return sent;
                await Task.Delay(5, TestContext.Current.CancellationToken);
                await PumpBarrier.PassAsync(pump);
                if (writer.WritingSince is not null) looks++;
            }
        }
    }

    /// <summary>Returns true if the frame is a message of <see cref="FillAsync"/>.</summary>
    public static bool IsFiller(ServerFrame frame) => frame.Payload.Length == FillMessage;
}
