using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.WebSockets;

namespace WebDemo;

/// <summary>A client of the load page.</summary>
static class LoadClient
{
    static readonly SemaphoreSlim Handshakes = new(32);

    /// <summary>Receives messages, and measures the time since the server published each message.</summary>
    public static async Task RunAsync(Uri url, ConcurrentQueue<double> latencies, CancellationToken cancellationToken)
    {
        using var socket = new ClientWebSocket();
        await ConnectAsync(socket, url, cancellationToken);
        var published = new byte[sizeof(long)];
        while ((await socket.ReceiveAsync(published, cancellationToken)).MessageType == WebSocketMessageType.Binary)
            latencies.Enqueue(Stopwatch.GetElapsedTime(BitConverter.ToInt64(published)).TotalMilliseconds);
    }

    static async Task ConnectAsync(ClientWebSocket socket, Uri url, CancellationToken cancellationToken)
    {
        await Handshakes.WaitAsync(cancellationToken);
        try
        {
            await socket.ConnectAsync(url, cancellationToken);
        }
        finally
        {
            Handshakes.Release();
        }
    }
}
