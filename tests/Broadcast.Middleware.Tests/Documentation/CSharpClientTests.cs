using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Runs the C# client of docs/guides/clients.md against a server that answers no ping.</summary>
/// <remarks>The class has only one test, because the timeout of the client is long. The class runs next to other classes.</remarks>
public sealed class CSharpClientTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task CSharpClient_ServerAnswersNoPing_ConnectsAgain()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var client = DocumentedListener.RunAsync(new Uri($"ws://{listener.LocalEndpoint}/ws"), static _ => Task.CompletedTask, stop.Token);

        using var first = await listener.AcceptTcpClientAsync(Token);
        await AnswerHandshakeAsync(first.GetStream());
        var second = listener.AcceptTcpClientAsync(Token).AsTask();

        // If the client gives up, its task ends before the second connection.
        Assert.Same(second, await Task.WhenAny(second, client).WaitAsync(TimeSpan.FromMinutes(2), Token));
        (await second).Dispose();
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => client);
    }

    static async Task AnswerHandshakeAsync(NetworkStream stream)
    {
        const string Header = "Sec-WebSocket-Key: ";
        using var reader = new StreamReader(stream, leaveOpen: true);
        var key = "";
        while (await reader.ReadLineAsync(Token) is { Length: > 0 } line)
        {
            if (line.StartsWith(Header, StringComparison.OrdinalIgnoreCase)) key = line[Header.Length..];
        }

        var accept = Convert.ToBase64String(SHA1.HashData(Encoding.ASCII.GetBytes(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
        await stream.WriteAsync(Encoding.ASCII.GetBytes(
            $"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"), Token);
    }
}
