using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Transports;

public sealed class InlineSendsTests
{
    const int Mega = 1024 * 1024;

    static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<string, string> Protocols => new()
    {
        { "HTTP/1.1", "http" },
        { "HTTP/1.1", "https" },
        { "HTTP/2", "http" },
        { "HTTP/2", "https" },
    };

    [Theory]
    [MemberData(nameof(Protocols))]
    public async Task LargeBody_ReadSlowly_ArrivesUnchanged(string protocol, string scheme)
    {
        var body = RandomNumberGenerator.GetBytes(10 * Mega * Effort.Factor);
        await using var app = await StartAsync(body, protocol, scheme);
        using var http = Client(protocol, receiveBuffer: 32 * 1024);

        using var response = await http.GetAsync($"{scheme}://127.0.0.1:{app.Port}/file", HttpCompletionOption.ResponseHeadersRead, Token);
        await using var stream = await response.Content.ReadAsStreamAsync(Token);
        var hash = await HashSlowlyAsync(stream);

        Assert.Equal(protocol, $"HTTP/{(response.Version.Major == 2 ? "2" : response.Version)}");
        Assert.Equal(SHA256.HashData(body), hash);
        LogAssert.NoErrors(app);
    }

    [Theory]
    [MemberData(nameof(Protocols))]
    public async Task ConcurrentRequests_ToOneServer_GetTheirOwnAnswers(string protocol, string scheme)
    {
        var body = RandomNumberGenerator.GetBytes(Mega);
        await using var app = await StartAsync(body, protocol, scheme);
        using var http = Client(protocol, receiveBuffer: 16 * 1024);

        await Parallel.ForAsync(0, 20 * Effort.Factor, new ParallelOptions { MaxDegreeOfParallelism = 20, CancellationToken = Token }, async (i, token) =>
        {
            var start = i % 200 * 1_000;
            // Some responses declare their length. The other responses use chunks or HTTP/2 frames.
            var path = $"pieces?start={start}&length={(i % 2 == 0 ? Mega - start : i)}&declared={i % 3 == 0}";
            var answer = await http.GetByteArrayAsync(new Uri($"{scheme}://127.0.0.1:{app.Port}/{path}"), token);
            Assert.Equal(SHA256.HashData(body.AsSpan(start, answer.Length)), SHA256.HashData(answer));
            Assert.Equal(i % 2 == 0 ? Mega - start : i, answer.Length);
        });
        LogAssert.NoErrors(app);
    }

    [Theory]
    [MemberData(nameof(Protocols))]
    public async Task Disconnect_InMiddleOfBody_EndsOnlyThatRequest(string protocol, string scheme)
    {
        var body = RandomNumberGenerator.GetBytes(2 * Mega);
        await using var app = await StartAsync(body, protocol, scheme);
        using var witness = Client(protocol);
        var requests = app.Services.GetRequiredService<Requests>();

        for (var i = 0; i < 5; i++)
        {
            Socket? socket = null;
            using var http = Client(protocol, receiveBuffer: 4096, connected: connected => socket = connected);
            using var response = await http.GetAsync($"{scheme}://127.0.0.1:{app.Port}/endless", HttpCompletionOption.ResponseHeadersRead, Token);
            await using var stream = await response.Content.ReadAsStreamAsync(Token);
            await stream.ReadExactlyAsync(new byte[i * 100_000], Token);
            Assert.Equal(1, requests.Running);

            socket!.LingerState = new LingerOption(true, 0);
            socket.Dispose();

            await Eventually.True(() => requests.Running == 0);
        }

        var answer = await witness.GetByteArrayAsync(new Uri($"{scheme}://127.0.0.1:{app.Port}/file"), Token);
        Assert.Equal(SHA256.HashData(body), SHA256.HashData(answer));
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData("GET /pieces HTTP/1.1", "close")]
    [InlineData("GET /pieces?declared=true HTTP/1.1", "close")]
    [InlineData("GET /pieces HTTP/1.0", null)]
    public async Task Transport_RequestWithoutKeepAlive_EndsAfterLastByteOfAnswer(string requestLine, string? connection)
    {
        var body = Encoding.ASCII.GetBytes(RandomNumberGenerator.GetHexString(2 * Mega));
        await using var app = await StartAsync(body);
        await using var client = await RawClient.ConnectAsync(app, receiveBuffer: 4096);

        var answer = await client.RequestAsync(
            requestLine, ("Connection", connection), ("Upgrade", null), ("Sec-WebSocket-Version", null), ("Sec-WebSocket-Key", null));

        Assert.Equal(200, answer.Status);
        Assert.Equal(Encoding.ASCII.GetString(body), answer.Body);
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task PipelinedRequests_WithDifferentLengths_AreAnsweredInOrder()
    {
        const int Count = 200;
        var body = Encoding.ASCII.GetBytes(RandomNumberGenerator.GetHexString(Mega));
        await using var app = await StartAsync(body);
        await using var client = await RawClient.ConnectAsync(app, receiveBuffer: 4096);
        var requests = Enumerable.Range(0, Count).Select(i =>
            $"GET /pieces?start={i}&length={Length(i)}&declared=true HTTP/1.1\r\nHost: localhost\r\n\r\n");

        await client.SendAsync(Encoding.ASCII.GetBytes(string.Concat(requests)));

        for (var i = 0; i < Count; i++)
        {
            var header = new StringBuilder();
            while (!header.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal)) header.Append((char)await client.ReadByteAsync());
            Assert.Contains($"Content-Length: {Length(i)}\r\n", header.ToString(), StringComparison.Ordinal);
            BytesAssert.Equal(body.AsMemory(i, Length(i)), await client.ReadAsync(Length(i)));
        }

        static int Length(int i) => i % 10 == 0 ? 100_000 : i * 10;
    }

    [Theory]
    [InlineData(HttpProtocols.Http1, false)]
    [InlineData(HttpProtocols.Http1, true)]
    [InlineData(HttpProtocols.Http2, false)]
    public async Task Messages_OtherClientsReset_ReachRemainingClients(HttpProtocols protocols, bool stalls)
    {
        const int Messages = 1_000, Size = 2_000;
        using var unobserved = new UnobservedExceptions();
        await RunAsync();
        unobserved.AssertNoneOfOurs();

        async Task RunAsync()
        {
            await using var app = await StartAsync([], protocols);
            var connections = new List<Http2Client>();
            await using var one = await OpenAsync();
            await using var two = await OpenAsync();
            var leaving = new List<Action>();
            for (var i = 0; i < 20; i++)
            {
                var client = await OpenAsync(stalls ? Stall.SmallWindow : null);
                leaving.Add(protocols == HttpProtocols.Http1 ? client.Reset : connections[^1].Reset);
            }

            int receivedByOne = 0, receivedByTwo = 0;

            await Task.WhenAll(
                Numbered.PublishAllAsync(app, Messages, Size, () => Math.Min(Volatile.Read(ref receivedByOne), Volatile.Read(ref receivedByTwo))),
                Numbered.ReadAllAsync(one, Messages, count => Volatile.Write(ref receivedByOne, count)),
                Numbered.ReadAllAsync(two, Messages, count => Volatile.Write(ref receivedByTwo, count)),
                DisconnectAsync());

            await Eventually.True(() => app.Registry.Count == 2);
            LogAssert.NoErrors(app);
            foreach (var connection in connections) connection.Dispose();

            async Task<RawClient> OpenAsync(int? receiveBuffer = null)
            {
                if (protocols == HttpProtocols.Http1) return await RawClient.OpenAsync(app, receiveBuffer: receiveBuffer);
                connections.Add(new Http2Client(app));
                return await connections[^1].OpenRawAsync();
            }

            async Task DisconnectAsync()
            {
                for (var i = 0; i < leaving.Count; i++)
                {
                    var due = Messages * (i + 1) / (leaving.Count + 2);
                    await Eventually.True(() => Volatile.Read(ref receivedByOne) >= due);
                    leaving[i]();
                }
            }
        }
    }

    [Fact]
    public async Task Message_OverTls_IsRelayed()
    {
        await using var app = await StartAsync([], scheme: "https");
        using var http = Client("HTTP/1.1");
        using var socket = new ClientWebSocket();
        await socket.ConnectAsync(new Uri($"wss://127.0.0.1:{app.Port}/ws"), http, Token);
        var message = RandomNumberGenerator.GetBytes(60_000);
        var received = new byte[100_000];

        for (var i = 0; i < 50; i++)
        {
            await socket.SendAsync(message, WebSocketMessageType.Binary, true, Token);
            var length = 0;
            ValueWebSocketReceiveResult result;
            do length += (result = await socket.ReceiveAsync(received.AsMemory(length), Token)).Count;
            while (!result.EndOfMessage);
            BytesAssert.Equal(message, received.AsMemory(0, length));
        }

        await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, Token);
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData("/ws")]
    [InlineData("/endless")]
    public async Task HostShutdown_ClientDoesNotRead_CompletesAndResetsTransport(string path)
    {
        await using var app = await StartAsync([], shutdownTimeout: TimeSpan.FromSeconds(1));
        await using var client = await RawClient.ConnectAsync(app, receiveBuffer: Stall.SmallWindow);
        await client.SendAsync(Encoding.ASCII.GetBytes(
            $"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
            $"Sec-WebSocket-Key: {RawClient.Key}\r\n\r\n"));
        var requests = app.Services.GetRequiredService<Requests>();
        await Eventually.True(() => app.Registry.Count + requests.Running == 1);
        for (var i = 0; i < 50; i++) await app.Broadcaster.PublishAsync(new byte[16_000], cancellationToken: Token);

        await app.StopAsync().WaitAsync(Patience, Token);

        await Eventually.True(() => app.Registry.Count + requests.Running == 0);
        Assert.Equal(TransportEnd.Reset, await client.ReadEndAsync());
    }

    [Fact]
    public async Task HostShutdown_AfterAbandonedFlush_CompletesAndResetsTransport()
    {
        var hasGone = new TaskCompletionSource();
        await using var app = await BroadcastApp.StartAsync(
            builder => Configure(builder, TimeSpan.FromSeconds(1)),
            listen: endpoint => endpoint.UseInlineSends().Run(async connection =>
            {
                var flush = connection.Transport.Output.WriteAsync(new byte[20 * Mega], Token);
                Assert.False(flush.IsCompleted);
                connection.Transport.Output.CancelPendingFlush();
                Assert.True((await flush).IsCanceled);
                hasGone.SetResult();
            }),
            choosesSends: true);
        await using var client = await RawClient.ConnectAsync(app, receiveBuffer: Stall.SmallWindow);
        await hasGone.Task.WaitAsync(Patience, Token);

        await app.StopAsync().WaitAsync(Patience, Token);

        Assert.Equal(TransportEnd.Reset, await client.ReadEndAsync());
    }

    [Fact]
    public async Task Output_AfterAbandonedFlush_IsDeliveredBeforeTransportEnds()
    {
        var body = RandomNumberGenerator.GetBytes(2 * Mega);
        await using var app = await BroadcastApp.StartAsync(
            builder => Configure(builder),
            listen: endpoint => endpoint.UseInlineSends().Run(async connection =>
            {
                var flush = connection.Transport.Output.WriteAsync(body, Token);
                connection.Transport.Output.CancelPendingFlush();
                await flush;
                await connection.Transport.Output.CompleteAsync();
            }),
            choosesSends: true);
        await using var client = await RawClient.ConnectAsync(app, receiveBuffer: Stall.SmallWindow);

        BytesAssert.Equal(body, await client.ReadAsync(body.Length));
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task UnflushedOutput_HandlerReturns_IsDelivered()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => Configure(builder),
            listen: endpoint => endpoint.UseInlineSends().Run(connection =>
            {
                connection.Transport.Output.Write("left"u8);
                return Task.CompletedTask;
            }),
            choosesSends: true);
        await using var client = await RawClient.ConnectAsync(app);

        Assert.Equal("left"u8.ToArray(), await client.ReadAsync(4));
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
    }

    [Fact]
    public async Task CompletedOutput_HandlerStillReads_EndsTransport()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => Configure(builder),
            listen: endpoint => endpoint.UseInlineSends().Run(async connection =>
            {
                await connection.Transport.Output.WriteAsync("bye"u8.ToArray(), Token);
                await connection.Transport.Output.CompleteAsync();
                while (await connection.Transport.Input.ReadAsync(Token) is { IsCompleted: false, IsCanceled: false } read)
                    connection.Transport.Input.AdvanceTo(read.Buffer.End);
            }),
            choosesSends: true);
        await using var client = await RawClient.ConnectAsync(app);

        Assert.Equal("bye"u8.ToArray(), await client.ReadAsync(3));
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
    }

    [Fact]
    public async Task UseInlineSends_ConnectionAlreadyAborted_LogsNoError()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => Configure(builder),
            listen: endpoint =>
            {
                endpoint.Use(next => connection =>
                {
                    connection.Abort();
                    return next(connection);
                });
                endpoint.UseInlineSends();
            },
            choosesSends: true);
        try
        {
            await using var client = await RawClient.ConnectAsync(app);
            await client.ReadEndAsync();
        }
        catch (SocketException)
        {
            // The reset can arrive before the client has connected.
        }

        await app.StopAsync();
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task UseInlineSends_AfterUseHttps_SendsOnlyEncryptedBytes()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => Configure(builder),
            Map,
            listen: endpoint =>
            {
                endpoint.UseHttps(SelfSigned());
                endpoint.UseInlineSends();
            },
            choosesSends: true);
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, app.Port, Token);
        var stream = client.GetStream();
        await using var tls = new SslStream(stream, leaveInnerStreamOpen: true, (_, certificate, _, _) => certificate?.Subject == "CN=localhost");
        await tls.AuthenticateAsClientAsync("localhost");

        await tls.WriteAsync("GET /file HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"u8.ToArray(), Token);

        // Each byte that arrives must belong to a TLS record with encrypted content.
        var header = new byte[5];
        while (await stream.ReadAtLeastAsync(header, header.Length, throwOnEndOfStream: false, Token) > 0)
        {
            Assert.Equal([23, 3, 3], header[..3]);
            await stream.ReadExactlyAsync(new byte[BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(3))], Token);
        }
    }

    [Fact]
    public async Task UseInlineSends_InEndpointDefaults_AppliesToEndpoint()
    {
        await using var app = await StartKestrelAsync(kestrel =>
        {
            kestrel.ConfigureEndpointDefaults(listen => listen.UseInlineSends());
            kestrel.Listen(IPAddress.Loopback, 0);
        });
        using var http = new HttpClient();

        Assert.Equal(nameof(InlineWriter), await http.GetStringAsync(new Uri($"{app.Urls.Single()}/transport"), Token));
    }

    [Fact]
    public async Task UseInlineSends_UnixDomainSocket_SendsInline()
    {
        var path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():N}.sock");
        await using var app = await StartKestrelAsync(kestrel => kestrel.ListenUnixSocket(path, listen => listen.UseInlineSends()));
        var body = RandomNumberGenerator.GetBytes(20 * Mega);
        app.Services.GetRequiredService<Requests>().Body = body;
        using var http = Client("HTTP/1.1", endPoint: new UnixDomainSocketEndPoint(path));

        Assert.Equal(nameof(InlineWriter), await http.GetStringAsync(new Uri("http://localhost/transport"), Token));
        Assert.Equal(SHA256.HashData(body), SHA256.HashData(await http.GetByteArrayAsync(new Uri("http://localhost/file"), Token)));
        using var socket = new ClientWebSocket();
        await socket.ConnectAsync(new Uri("ws://localhost/ws"), http, Token);
        await socket.SendAsync("hello"u8.ToArray(), WebSocketMessageType.Text, true, Token);
        var received = new byte[10];
        Assert.Equal(5, (await socket.ReceiveAsync(received.AsMemory(), Token)).Count);
    }

    [Fact]
    public async Task UseInlineSends_TransportWithoutSocket_ChangesNothing()
    {
        var transport = new DuplexPipe(PipeReader.Create(Stream.Null), PipeWriter.Create(Stream.Null));
        var connection = new DefaultConnectionContext("1", transport, transport);
        ConnectionContext? served = null;
        var builder = new ConnectionBuilder(new ServiceCollection().BuildServiceProvider());
        Assert.Same(builder, builder.UseInlineSends());
        builder.Run(context =>
        {
            served = context;
            return Task.CompletedTask;
        });

        await builder.Build()(connection);

        Assert.Same(connection, served);
        Assert.Same(transport, connection.Transport);
        Assert.Throws<ArgumentNullException>(() => ((ConnectionBuilder)null!).UseInlineSends());
    }

    /// <summary>
    /// Starts an app with inline sends and small buffers. The app serves a broadcast, and serves the body at several URLs.
    /// </summary>
    static Task<BroadcastApp> StartAsync(
        byte[] body, string protocol = "HTTP/1.1", string scheme = "http", TimeSpan? shutdownTimeout = null) =>
        StartAsync(body, protocol == "HTTP/2" ? HttpProtocols.Http2 : HttpProtocols.Http1, scheme, shutdownTimeout);

    static async Task<BroadcastApp> StartAsync(
        byte[] body, HttpProtocols protocols, string scheme = "http", TimeSpan? shutdownTimeout = null)
    {
        var app = await BroadcastApp.StartAsync(
            builder => Configure(builder, shutdownTimeout),
            Map,
            protocols: protocols,
            listen: endpoint =>
            {
                endpoint.UseInlineSends();
                if (scheme == "https") endpoint.UseHttps(SelfSigned());
            },
            choosesSends: true);
        app.Services.GetRequiredService<Requests>().Body = body;
        return app;
    }

    static async Task<WebApplication> StartKestrelAsync(Action<KestrelServerOptions> configure)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(configure);
        builder.Services.AddBroadcast();
        Configure(builder);
        var app = builder.Build();
        Map(app);
        await app.StartAsync(Token);
        return app;
    }

    static void Configure(WebApplicationBuilder builder, TimeSpan? shutdownTimeout = null)
    {
        Stall.SmallSendBuffers(builder);
        builder.Services.AddSingleton<Requests>();
        // Only UseInlineSends enables inline sends in these tests.
        builder.Services.Configure<BroadcastServerOptions>(static server => server.SendsInline = false);
        if (shutdownTimeout is not { } timeout) return;
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = timeout);
        builder.Services.AddBroadcast(options => options.DrainTimeout = timeout / 2);
    }

    static void Map(WebApplication app)
    {
        var requests = app.Services.GetRequiredService<Requests>();
        app.MapBroadcast("/ws");
        app.MapGet("/file", context => new MemoryStream(requests.Body).CopyToAsync(context.Response.Body, context.RequestAborted));
        app.MapGet("/pieces", requests.ServePiecesAsync);
        app.MapGet("/endless", requests.ServeEndlessAsync);
        app.MapGet("/transport", context => context.Response.WriteAsync(
            context.Features.Get<IConnectionTransportFeature>()!.Transport.Output.GetType().Name, context.RequestAborted));
    }

    static X509Certificate2 SelfSigned()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
    }

    static HttpClient Client(string protocol, int? receiveBuffer = null, Action<Socket>? connected = null, EndPoint? endPoint = null)
    {
        var handler = new SocketsHttpHandler
        {
            SslOptions = new SslClientAuthenticationOptions
            {
                RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate?.Subject == "CN=localhost",
            },
            ConnectCallback = async (context, token) =>
            {
                var socket = endPoint is UnixDomainSocketEndPoint
                    ? new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
                    : new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                if (receiveBuffer is { } size) socket.ReceiveBufferSize = size;
                await socket.ConnectAsync(endPoint ?? context.DnsEndPoint, token);
                connected?.Invoke(socket);
                return new NetworkStream(socket, ownsSocket: true);
            },
        };
        return new(handler)
        {
            DefaultRequestVersion = protocol == "HTTP/2" ? HttpVersion.Version20 : HttpVersion.Version11,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
    }

    static async Task<byte[]> HashSlowlyAsync(Stream stream)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[16 * 1024];
        while (await stream.ReadAsync(buffer, Token) is > 0 and var read)
        {
            hash.AppendData(buffer, 0, read);
            await Task.Yield();
        }

        return hash.GetHashAndReset();
    }

    sealed record DuplexPipe(PipeReader Input, PipeWriter Output) : IDuplexPipe;

    sealed class Requests
    {
        int _running;

        public byte[] Body { get; set; } = [];

        public int Running => Volatile.Read(ref _running);

        /// <summary>
        /// Writes the requested part of the body in pieces of different sizes, through Body or BodyWriter of the
        /// response.
        /// </summary>
        public async Task ServePiecesAsync(HttpContext context)
        {
            var start = Number("start") ?? 0;
            var rest = Body.AsMemory(start, Number("length") ?? Body.Length - start);
            if (context.Request.Query["declared"] == "true") context.Response.ContentLength = rest.Length;
            var random = new Random(start);
            for (var i = 0; !rest.IsEmpty; i++)
            {
                var piece = rest[..Math.Min(rest.Length, random.Next(1, i % 5 == 0 ? 150_000 : 2_000))];
                if (random.Next(2) == 0) await context.Response.Body.WriteAsync(piece, context.RequestAborted);
                else await context.Response.BodyWriter.WriteAsync(piece, context.RequestAborted);
                rest = rest[piece.Length..];
            }

            int? Number(string name) => int.TryParse(context.Request.Query[name], out var number) ? number : null;
        }

        public async Task ServeEndlessAsync(HttpContext context)
        {
            Interlocked.Increment(ref _running);
            try
            {
                var piece = new byte[10_000];
                while (!context.RequestAborted.IsCancellationRequested) await context.Response.Body.WriteAsync(piece, context.RequestAborted);
            }
            catch (OperationCanceledException)
            {
                // The client has disconnected.
            }
            finally
            {
                Interlocked.Decrement(ref _running);
            }
        }
    }
}
