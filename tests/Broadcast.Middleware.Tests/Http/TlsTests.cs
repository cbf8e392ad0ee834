using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Hosting;

namespace Broadcast.Middleware.Tests.Http;

public sealed class TlsTests
{
    [Fact]
    public async Task Message_OverTls_IsRelayed()
    {
        var token = TestContext.Current.CancellationToken;
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        await using var app = await BroadcastApp.StartAsync(listen: endpoint => endpoint.UseHttps(certificate));
        using var one = await OpenAsync();
        using var two = await OpenAsync();
        await app.Registry.OpenedAsync("/ws", 2);
        var payload = Enumerable.Range(0, 65_536).Select(i => (byte)i).ToArray();

        await one.SendAsync(payload, WebSocketMessageType.Binary, true, token);
        await one.SendAsync("secret"u8.ToArray(), WebSocketMessageType.Text, true, token);

        foreach (var socket in new[] { one, two })
        {
            BytesAssert.Equal(payload, await ReceiveAsync(socket));
            Assert.Equal("secret", Encoding.UTF8.GetString(await ReceiveAsync(socket)));
            await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, token);
        }

        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);

        async Task<ClientWebSocket> OpenAsync()
        {
            var socket = new ClientWebSocket();
            socket.Options.RemoteCertificateValidationCallback = (_, presented, _, _) => presented?.GetCertHashString() == certificate.GetCertHashString();
            await socket.ConnectAsync(new Uri($"wss://localhost:{app.Port}/ws"), token);
            return socket;
        }

        async Task<byte[]> ReceiveAsync(ClientWebSocket socket)
        {
            var message = new MemoryStream();
            var buffer = new byte[16 * 1024];
            ValueWebSocketReceiveResult received;
            do
            {
                received = await socket.ReceiveAsync(buffer.AsMemory(), token);
                message.Write(buffer, 0, received.Count);
            }
            while (!received.EndOfMessage);
            return message.ToArray();
        }
    }
}
