using System.Net;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Runtime.CompilerServices;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Transports;

/// <summary>Tests that the HTTP request of a WebSocket ends after the handshake, and that nothing else changes.</summary>
public sealed class HandoverTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Request_AfterHandshake_EndsWhileConnectionIsOpen(bool sendsInline)
    {
        var requests = new Requests();
        await using var app = await StartAsync(
            requests, builder => builder.Services.Configure<BroadcastServerOptions>(server => server.SendsInline = sendsInline));
        await using var client = await RawClient.OpenAsync(app);

        await Eventually.True(() => requests.Ended == 1);

        await EchoAsync(client);
        // These messages do not fit into the buffers of the sockets at once.
        var payload = new string('x', 16_000);
        var publishing = Task.Run(async () =>
        {
            for (var i = 0; i < 50; i++) await app.PublishAsync($"{i} {payload}");
        }, Token);
        for (var i = 0; i < 50; i++) Assert.Equal($"{i} {payload}", (await client.ReadFrameAsync()).Text);
        await publishing;
        await client.LeaveAsync();
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    public static TheoryData<string> StayOpen => ["option", "connection logging", "MaxConcurrentConnections", "MaxConcurrentUpgradedConnections"];

    [Theory]
    [MemberData(nameof(StayOpen))]
    public async Task Request_HandoverDisabledOrImpossible_StaysOpen(string reason)
    {
        var requests = new Requests();
        await using var app = await StartAsync(
            requests,
            builder =>
            {
                if (reason == "option") builder.Services.Configure<BroadcastServerOptions>(static server => server.HandsOverConnections = false);
                builder.WebHost.ConfigureKestrel(kestrel =>
                {
                    if (reason == "MaxConcurrentConnections") kestrel.Limits.MaxConcurrentConnections = 10;
                    if (reason == "MaxConcurrentUpgradedConnections") kestrel.Limits.MaxConcurrentUpgradedConnections = 10;
                });
            },
            endpoint =>
            {
                if (reason == "connection logging") endpoint.UseConnectionLogging();
            });
        var client = await RawClient.OpenAsync(app);

        await EchoAsync(client);
        Assert.Equal((1, 0), (requests.Started, requests.Ended));
        await client.LeaveAsync();

        await Eventually.True(() => requests.Ended == 1);
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Handshake_MessagesInSamePacket_LosesNoMessage()
    {
        await using var app = await StartAsync();
        for (var round = 0; round < 100; round++)
        {
            await using var client = await RawClient.ConnectAsync(app);
            var request =
                "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
                $"Sec-WebSocket-Key: {RawClient.Key}\r\n\r\n";
            var frames = Enumerable.Range(0, 20).SelectMany(static i => ClientFrame.CreateText($"{i}"));

            await client.SendAsync((byte[])[.. Encoding.ASCII.GetBytes(request), .. frames]);

            Assert.Equal(101, (await client.ReadAnswerAsync()).Status);
            for (var i = 0; i < 20; i++) Assert.Equal($"{i}", (await client.ReadFrameAsync()).Text);
        }

        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task HttpContext_AfterHandover_IsGarbageCollected()
    {
        var requests = new Requests();
        await using var app = await StartAsync(requests);
        await using var client = await RawClient.OpenAsync(app);
        await EchoAsync(client);
        await Eventually.True(() => requests.Ended == 1);

        await Eventually.True(() =>
        {
            GC.Collect();
            return !requests.IsAlive;
        });

        await EchoAsync(client);
    }

    [Fact]
    public async Task ConnectionAborted_ClientResetsAfterHandover_IsCanceled()
    {
        var requests = new Requests();
        await using var app = await StartAsync(requests);
        var client = await RawClient.OpenAsync(app);
        await Eventually.True(() => requests.Ended == 1);
        var aborted = app.Registry.Connections.Single().ConnectionAborted;
        Assert.False(aborted.IsCancellationRequested);

        client.Reset();

        await Eventually.True(() => aborted.IsCancellationRequested);
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Handshake_ManyClientsResetDuringHandshake_LeavesNoConnection()
    {
        const int Clients = 5_000;
        using var unobserved = new UnobservedExceptions();
        var requests = new Requests();
        await using var app = await StartAsync(requests);
        using var meters = new Meters(app);
        var handshake = Encoding.ASCII.GetBytes(
            "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
            $"Sec-WebSocket-Key: {RawClient.Key}\r\n\r\n");
        await Parallel.ForAsync(0, Clients, new ParallelOptions { MaxDegreeOfParallelism = 16, CancellationToken = Token }, async (i, _) =>
        {
            var client = await RawClient.ConnectAsync(app);
            await client.SendAsync(handshake);
            // The client resets at different moments of the handshake.
            for (var spins = 0; spins < i % 50; spins++) await Task.Yield();
            client.Reset();
        });

        await Eventually.True(() => requests.Ended == requests.Started);
        await Eventually.True(() => app.Registry.Count == 0 && meters.Sum(Meters.Connections) == 0);
        await app.StopAsync().WaitAsync(Eventually.Patience, Token);
        unobserved.AssertNone();
    }

    [Fact]
    public async Task Stop_ConnectionsWereHandedOver_ClosesConnectionsBeforeServerStops()
    {
        var requests = new Requests();
        await using var app = await StartAsync(requests);
        var clients = new List<RawClient>();
        for (var i = 0; i < 10; i++) clients.Add(await RawClient.OpenAsync(app));
        await Eventually.True(() => requests.Ended == clients.Count);

        var stopping = app.StopAsync();
        foreach (var client in clients) Assert.Equal(1001, (await client.ReadCloseAsync()).CloseCode);
        Assert.False(stopping.IsCompleted, "The server does not wait for the connections.");
        foreach (var client in clients)
        {
            await client.SendAsync(ClientFrame.CreateClose(1001));
            await client.ReadEndAsync();
        }

        await stopping.WaitAsync(Eventually.Patience, Token);
        Assert.Equal(0, app.Registry.Count);
        LogAssert.NoErrors(app);
        foreach (var client in clients) await client.DisposeAsync();
    }

    /// <summary>
    /// After the configuration of an endpoint has changed, Kestrel listens on another address. The clients of the old
    /// address stay connected.
    /// </summary>
    [Fact]
    public async Task Stop_AddressHasChanged_WaitsForConnectionsOfOldAddress()
    {
        var requests = new Requests();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.Configuration["Kestrel:Endpoints:A:Url"] = "http://127.0.0.1:0";
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Configure(builder.Configuration.GetSection("Kestrel"), reloadOnChange: true));
        builder.Services.AddBroadcast(static options =>
        {
            // No timeout must end the connection before the test does.
            options.KeepAliveInterval = Timeout.InfiniteTimeSpan;
            options.CloseTimeout = options.SendTimeout = options.DrainTimeout = TimeSpan.FromSeconds(60);
        });
        builder.Services.Configure<HostOptions>(static host => host.ShutdownTimeout = TimeSpan.FromSeconds(90));
        await using var app = builder.Build();
        app.Use(requests.RunAsync);
        app.MapBroadcast("/ws");
        await app.StartAsync(Token);
        var port = new Uri(app.Urls.Single()).Port;
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(IPAddress.Loopback, port, Token);
        await using var client = new RawClient(new NetworkStream(socket, ownsSocket: true), socket);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);
        await client.JoinedAsync();
        await Eventually.True(() => requests.Ended == 1);
        builder.Configuration["Kestrel:Endpoints:A:Url"] = "http://127.0.0.2:0";
        ((IConfigurationRoot)app.Configuration).Reload();
        // Kestrel disposes the listener of the old address before it listens on the new address.
        await Eventually.True(() => app.Urls.Any(static url => url.Contains("127.0.0.2", StringComparison.Ordinal)));
        Assert.True(IsRefused(port));

        var stopping = app.StopAsync(Token);

        Assert.Equal(1001, (await client.ReadCloseAsync()).CloseCode);
        await ((DrainingServer)app.Services.GetRequiredService<IServer>()).Stopped;
        Assert.False(stopping.IsCompleted, "The app does not wait for the connection.");
        await client.SendAsync(ClientFrame.CreateClose(1001));
        await client.ReadEndAsync();
        await stopping.WaitAsync(Eventually.Patience, Token);
        Assert.Equal(0, app.Services.GetRequiredService<IConnectionRegistry>().Count);
    }

    /// <summary>
    /// When a server stops, it cancels the reads of open requests. The handover can come after this cancellation.
    /// </summary>
    [Fact]
    public async Task Stop_DuringConnectFilter_KeepsConnectionUntilDrain()
    {
        var (entered, release) = (new TaskCompletionSource(), new TaskCompletionSource());
        var service = new SlowService();
        await using var app = await BroadcastApp.StartAsync(
            // The connections stay open until this service has stopped.
            builder => builder.Services.AddSingleton<IHostedService>(service),
            map => map.MapBroadcast("/ws").UseConnect(async (context, next) =>
            {
                entered.SetResult();
                await release.Task;
                await next(context);
            }),
            choosesSends: true);
        await using var idle = await RawClient.ConnectAsync(app);
        await idle.SendAsync("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray());
        Assert.Equal(404, (await idle.ReadAnswerAsync()).Status);
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);
        await entered.Task.WaitAsync(Eventually.Patience, Token);

        var stopping = app.StopAsync();
        // The server closes idle connections when it cancels the reads of open requests. So the end of the idle
        // connection proves the cancellation.
        await idle.ReadEndAsync();
        release.SetResult();

        await client.JoinedAsync();
        await EchoAsync(client);
        service.Stopped.SetResult();
        Assert.Equal(1001, await client.ClosedWithAsync());
        await stopping.WaitAsync(Eventually.Patience, Token);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Dispose_HostWasNotStopped_EndsOpenConnections()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddBroadcast();
        var app = builder.Build();
        app.MapBroadcast("/ws");
        await app.StartAsync(Token);
        using var socket = new ClientWebSocket();
        await socket.ConnectAsync(new UriBuilder(app.Urls.Single()) { Scheme = "ws", Path = "/ws" }.Uri, Token);
        var receiving = socket.ReceiveAsync(new byte[1], Token);

        await app.DisposeAsync().AsTask().WaitAsync(Eventually.Patience, Token);

        await Assert.ThrowsAsync<WebSocketException>(() => receiving.WaitAsync(Eventually.Patience, Token));
    }

    [Fact]
    public async Task KeepAliveRequests_BeforeHandshake_AreAnswered()
    {
        await using var app = await StartAsync();
        await using var client = await RawClient.ConnectAsync(app);
        for (var i = 0; i < 3; i++)
        {
            await client.SendAsync("GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray());
            var answer = await client.ReadAnswerAsync();
            Assert.Equal((200, "plain"), (answer.Status, answer.Body));
        }

        Assert.Equal(101, (await client.HandshakeAsync()).Status);
        await client.JoinedAsync();
        await EchoAsync(client);
    }

    [Fact]
    public async Task AddBroadcast_AppHasOwnTransport_KeepsThatTransport()
    {
        await using var app = await StartAsync(configure: static builder => builder.Services.AddSingleton<IConnectionListenerFactory, OwnTransport>());
        await using var client = await RawClient.OpenAsync(app);
        await EchoAsync(client);
        Assert.IsType<OwnTransport>(app.Services.GetServices<IConnectionListenerFactory>().Last());
    }

    static bool IsRefused(int port)
    {
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Connect(IPAddress.Loopback, port);
            return false;
        }
        catch (SocketException error) when (error.SocketErrorCode == SocketError.ConnectionRefused)
        {
            return true;
        }
    }

    static async Task EchoAsync(RawClient client)
    {
        await client.SendAsync(ClientFrame.CreateText("echo"));
        Assert.Equal("echo", (await client.ReadFrameAsync()).Text);
    }

    static Task<BroadcastApp> StartAsync(
        Requests? requests = null, Action<WebApplicationBuilder>? configure = null, Action<ListenOptions>? listen = null) => BroadcastApp.StartAsync(
        configure,
        app =>
        {
            if (requests is not null) app.Use(requests.RunAsync);
            app.MapBroadcast("/ws");
            app.MapGet("/plain", static () => "plain");
        },
        listen: listen,
        choosesSends: true);

    sealed class SlowService : IHostedService
    {
        public TaskCompletionSource Stopped { get; } = new();

        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Stopped.Task.WaitAsync(cancellationToken);
    }

    /// <summary>
    /// Middleware that counts the requests and keeps a weak reference to the last <c>HttpContext</c>.
    /// </summary>
    sealed class Requests
    {
        int _started, _ended;
        WeakReference? _context;

        public int Started => Volatile.Read(ref _started);

        public int Ended => Volatile.Read(ref _ended);

        public bool IsAlive => _context!.IsAlive;

        public async Task RunAsync(HttpContext context, RequestDelegate next)
        {
            Remember(context);
            Interlocked.Increment(ref _started);
            try
            {
                await next(context);
            }
            finally
            {
                Interlocked.Increment(ref _ended);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        void Remember(HttpContext context) => _context = new WeakReference(context);
    }

    sealed class UnobservedExceptions : IDisposable
    {
        readonly List<Exception> _exceptions = [];

        public UnobservedExceptions() => TaskScheduler.UnobservedTaskException += OnUnobserved;

        public void AssertNone()
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            lock (_exceptions) Assert.DoesNotContain(_exceptions, static exception => exception.ToString().Contains("Broadcast.Middleware.Transports", StringComparison.Ordinal));
        }

        public void Dispose() => TaskScheduler.UnobservedTaskException -= OnUnobserved;

        void OnUnobserved(object? sender, UnobservedTaskExceptionEventArgs args)
        {
            lock (_exceptions) _exceptions.Add(args.Exception);
        }
    }

    sealed class OwnTransport(SocketTransportFactory sockets) : IConnectionListenerFactory
    {
        public ValueTask<IConnectionListener> BindAsync(System.Net.EndPoint endpoint, CancellationToken cancellationToken = default) =>
            sockets.BindAsync(endpoint, cancellationToken);
    }
}
