using System.Net.Security;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Http;

public sealed class TlsTests : IDisposable
{
    readonly X509Certificate2 _certificate = CreateCertificate();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _certificate.Dispose();

    [Fact]
    public async Task Message_OverTls_IsRelayed()
    {
        await using var app = await BroadcastApp.StartAsync(listen: UseTls);
        using var one = await OpenAsync();
        using var two = await OpenAsync();
        await app.Registry.OpenedAsync("/ws", 2);
        var payload = Enumerable.Range(0, 65_536).Select(i => (byte)i).ToArray();

        await one.SendAsync(payload, WebSocketMessageType.Binary, true, Token);
        await one.SendAsync("secret"u8.ToArray(), WebSocketMessageType.Text, true, Token);

        foreach (var socket in new[] { one, two })
        {
            BytesAssert.Equal(payload, await ReceiveAsync(socket));
            Assert.Equal("secret", Encoding.UTF8.GetString(await ReceiveAsync(socket)));
            await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, Token);
        }

        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);

        async Task<ClientWebSocket> OpenAsync()
        {
            var socket = new ClientWebSocket();
            socket.Options.RemoteCertificateValidationCallback = (_, presented, _, _) => IsOurs(presented);
            await socket.ConnectAsync(new Uri($"wss://localhost:{app.Port}/ws"), Token);
            return socket;
        }

        static async Task<byte[]> ReceiveAsync(ClientWebSocket socket)
        {
            var message = new MemoryStream();
            var buffer = new byte[16 * 1024];
            ValueWebSocketReceiveResult received;
            do
            {
                received = await socket.ReceiveAsync(buffer.AsMemory(), Token);
                message.Write(buffer, 0, received.Count);
            }
            while (!received.EndOfMessage);
            return message.ToArray();
        }
    }

    [Theory]
    [InlineData("UseHttps", "SslStream")]
    [InlineData("UseConnectionLogging UseHttps", "SslStream")]
    [InlineData("UseHttps UseConnectionLogging", "HttpUpgradeStream")]
    [InlineData("UseHttps SendsInline=false", "HttpUpgradeStream")]
    [InlineData("UseHttps ReplacedUpgrade", "HttpUpgradeStream")]
    [InlineData("", "HttpUpgradeStream")]
    public async Task Output_UpgradedRequest_IsTlsStreamIfLibraryMayWriteToIt(string setup, string expected)
    {
        var steps = setup.Split(' ');
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.Configure<BroadcastServerOptions>(server => server.SendsInline = !steps.Contains("SendsInline=false")),
            app =>
            {
                if (steps.Contains("ReplacedUpgrade"))
                {
                    app.Use(static (context, next) =>
                    {
                        context.Features.Set<IHttpUpgradeFeature>(new ReplacedUpgrade(context.Features.GetRequiredFeature<IHttpUpgradeFeature>()));
                        return next(context);
                    });
                }

                app.MapGet("/output", SendTypeOfOutputAsync);
                app.MapBroadcast("/ws");
            },
            listen: endpoint =>
            {
                foreach (var step in steps)
                {
                    if (step == "UseHttps") UseTls(endpoint);
                    if (step == "UseConnectionLogging") endpoint.UseConnectionLogging();
                }
            });

        await using var output = await ConnectAsync();
        Assert.Equal(101, (await output.HandshakeAsync("/output")).Status);
        Assert.Equal(expected, (await output.ReadFrameAsync()).Text);

        await using var client = await ConnectAsync();
        Assert.Equal(101, (await client.HandshakeAsync()).Status);
        await client.JoinedAsync();
        await app.PublishAsync("hello");
        Assert.Equal("hello", (await client.ReadFrameAsync()).Text);

        Task<RawClient> ConnectAsync() => steps.Contains("UseHttps") ? this.ConnectAsync(app) : RawClient.ConnectAsync(app);

        static async Task SendTypeOfOutputAsync(HttpContext context)
        {
            var interposer = new FrameInterposer(context.Features, context.Features.Get<IHttpUpgradeFeature>(), null);
            await interposer.UpgradeAsync();
            var name = Encoding.UTF8.GetBytes(interposer.Output!.GetType().Name);
            var frame = new byte[Frame.Size(name.Length)];
            Frame.Write(frame, MessageType.Text, name);
            await interposer.Output.WriteAsync(frame, Token);
            await interposer.Output.FlushAsync(Token);
        }
    }

    [Theory]
    [InlineData(SslProtocols.Tls12)]
    [InlineData(SslProtocols.Tls13)]
    public async Task Messages_AllClientsSendAndReceiveAtOnce_ArriveOnceAndInOrder(SslProtocols version)
    {
        const int Clients = 6, Messages = 150;
        await using var app = await BroadcastApp.StartAsync(listen: UseTls, options: static options => options.MaxBacklogBytes = 64 * 1024 * 1024);
        var clients = new List<RawClient>();
        for (var i = 0; i < Clients; i++) clients.Add(await OpenAsync(app, version: version));
        // A TLS record has at most 16 KiB, so many of these messages need several records.
        var sizes = new Random(1).GetItems([4, 100, 5_000, 16_384, 40_000], Clients * Messages);

        await Task.WhenAll(clients.Select(SendAsync).Concat(clients.Select(ReceiveAsync)));

        foreach (var client in clients)
        {
            await client.AssertOpenAsync();
            await client.LeaveAsync();
            await client.DisposeAsync();
        }

        await app.IsEmptyAsync();
        LogAssert.NoErrors(app);

        async Task SendAsync(RawClient client, int sender)
        {
            for (var i = sender * Messages; i < (sender + 1) * Messages; i++)
                await client.SendAsync(ClientFrame.Make(ClientFrame.Binary, Payload.Make(i, sizes[i])));
        }

        async Task ReceiveAsync(RawClient client)
        {
            var next = Enumerable.Range(0, Clients).Select(static sender => sender * Messages).ToArray();
            for (var received = 0; received < Clients * Messages; received++)
            {
                var payload = (await client.ReadFrameAsync()).Payload;
                var id = BitConverter.ToInt32(payload);
                Assert.Equal(next[id / Messages]++, id);
                Assert.True(Payload.Is(payload, id, sizes[id]));
            }
        }
    }

    [Fact]
    public async Task SlowClient_OverTls_ReceivesAllMessagesLaterAndDelaysNoOtherClient()
    {
        await using var app = await BroadcastApp.StartAsync(Stall.SmallSendBuffers, listen: UseTls);
        using var meters = new Meters(app);
        await using var slow = await OpenAsync(app, receiveBuffer: Stall.SmallWindow);
        var slowId = app.Registry.Connections.Single().Id;
        await using var quick = await OpenAsync(app);

        var fillers = await Stall.FillAsync(app, meters, slowId);
        await app.PublishAsync([.. Enumerable.Range(0, 100).Select(static i => $"{i}")]);

        for (var i = 0; i < 100; i++) Assert.Equal($"{i}", (await quick.ReadFrameAsync()).Text);
        for (var i = 0; i < fillers; i++) Assert.True(Stall.IsFiller(await slow.ReadFrameAsync()));
        for (var i = 0; i < 100; i++) Assert.Equal($"{i}", (await slow.ReadFrameAsync()).Text);
        await slow.LeaveAsync();
        await quick.LeaveAsync();
        await app.IsEmptyAsync();
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData("reset")]
    [InlineData("abort")]
    [InlineData("stop")]
    public async Task Connection_EndsDuringWriteOverTls_IsRemoved(string end)
    {
        using var unobserved = new UnobservedExceptions();
        await using var app = await BroadcastApp.StartAsync(Stall.SmallSendBuffers, listen: UseTls, options: static options => options.CloseTimeout = TimeSpan.FromSeconds(1));
        using var meters = new Meters(app);
        var client = await OpenAsync(app, receiveBuffer: Stall.SmallWindow);
        var connection = app.Registry.Connections.Single();
        await Stall.FillAsync(app, meters, connection.Id);

        if (end == "reset") client.Reset();
        else if (end == "abort") ((Connection)connection).Abort(EndReason.SendTimeout);
        else await app.StopAsync();

        await Eventually.True(() => app.Registry.Count == 0);
        await client.DisposeAsync();
        LogAssert.NoErrors(app);
        unobserved.AssertNoneOfOurs();
    }

    void UseTls(ListenOptions endpoint) => endpoint.UseHttps(_certificate);

    async Task<RawClient> OpenAsync(BroadcastApp app, int? receiveBuffer = null, SslProtocols version = SslProtocols.None)
    {
        var client = await ConnectAsync(app, receiveBuffer, version);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);
        await client.JoinedAsync();
        return client;
    }

    /// <summary>Connects with TLS, but without a WebSocket handshake.</summary>
    async Task<RawClient> ConnectAsync(BroadcastApp app, int? receiveBuffer = null, SslProtocols version = SslProtocols.None)
    {
        var socket = await app.ConnectSocketAsync(receiveBuffer);
        var stream = new SslStream(new NetworkStream(socket, ownsSocket: true), leaveInnerStreamOpen: false, (_, presented, _, _) => IsOurs(presented));
        await stream.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = "localhost", EnabledSslProtocols = version }, Token);
        Assert.True(version == SslProtocols.None || stream.SslProtocol == version);
        return new RawClient(stream, socket);
    }

    bool IsOurs(X509Certificate? presented) => presented?.GetCertHashString() == _certificate.GetCertHashString();

    static X509Certificate2 CreateCertificate()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
    }

    sealed class ReplacedUpgrade(IHttpUpgradeFeature inner) : IHttpUpgradeFeature
    {
        public bool IsUpgradableRequest => inner.IsUpgradableRequest;

        public Task<Stream> UpgradeAsync() => inner.UpgradeAsync();
    }
}
