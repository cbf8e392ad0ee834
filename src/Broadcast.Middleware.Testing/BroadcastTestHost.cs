using Broadcast.Middleware.Testing.Hosting;
using Broadcast.Middleware.Testing.Wire;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Testing;

/// <summary>
/// An app with a broadcast, for end-to-end tests in one process. The app runs on Kestrel, but uses no port. By default,
/// the app maps <c>/ws</c> and uses a manual clock: see <see cref="Time"/>.
/// </summary>
/// <remarks>The host reads no configuration files and no environment variables.</remarks>
public sealed class BroadcastTestHost : IAsyncDisposable
{
    readonly WebApplication _app;
    readonly InMemoryTransport _transport;
    readonly FaultyBackplane? _backplane;
    readonly CancellationToken _cancellationToken;
    readonly Lock _gate = new();
    readonly List<TestClient> _clients = [];
    bool _isDisposed;

    BroadcastTestHost(
        WebApplication app,
        InMemoryTransport transport,
        FaultyBackplane? backplane,
        CancellationToken cancellationToken) =>
        (_app, _transport, _backplane, _cancellationToken) = (app, transport, backplane, cancellationToken);

    /// <summary>The services of the app.</summary>
    public IServiceProvider Services => _app.Services;

    /// <summary>The broadcaster of the default broadcast.</summary>
    public IBroadcaster Broadcaster => Services.GetRequiredService<IBroadcaster>();

    /// <summary>
    /// The manual clock of the app. Timeouts of the broadcast expire only if the test advances this clock. The clock
    /// starts at the current time.
    /// </summary>
    /// <exception cref="InvalidOperationException">The test has registered another time provider.</exception>
    public FakeTimeProvider Time => Services.GetRequiredService<TimeProvider>() as FakeTimeProvider
        ?? throw new InvalidOperationException(
            "The app uses another TimeProvider than the manual clock. Remove the registration of your TimeProvider, " +
            "or use your TimeProvider instead of this property.");

    /// <summary>The backplane of this host. A test can make this backplane fail.</summary>
    /// <exception cref="InvalidOperationException">The host has no cluster.</exception>
    public FaultyBackplane Backplane => _backplane ?? throw new InvalidOperationException(
        "The host is not part of a cluster. Pass an InMemoryCluster to the parameter 'cluster' of StartAsync.");

    /// <summary>
    /// The longest time that a client waits without progress. The timeout uses the real clock, not <see cref="Time"/>.
    /// A change affects only clients that connect later. Default: 60 seconds, because a busy test machine can be slow.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is zero or negative.</exception>
    public TimeSpan Timeout
    {
        get;
        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(value, TimeSpan.Zero);
            field = value;
        }
    } = TimeSpan.FromSeconds(60);

    /// <summary>Starts an app.</summary>
    /// <param name="options">Sets the options of the default broadcast.</param>
    /// <param name="broadcast">Configures the default broadcast, for example its filters.</param>
    /// <param name="configure">Configures the app, for example its services.</param>
    /// <param name="map">
    /// Adds the middleware and the endpoints of the app. By default, the app maps <c>/ws</c> to the default broadcast.
    /// </param>
    /// <param name="cluster">
    /// Makes the host a node of this cluster. Hosts of the same cluster form one broadcast. Null for a single node.
    /// </param>
    /// <param name="cancellationToken">
    /// Cancels the start of the host, and all waits of the host and its clients.
    /// </param>
    public static async Task<BroadcastTestHost> StartAsync(
        Action<BroadcastOptions>? options = null,
        Action<IBroadcastBuilder>? broadcast = null,
        Action<WebApplicationBuilder>? configure = null,
        Action<WebApplication>? map = null,
        InMemoryCluster? cluster = null,
        CancellationToken cancellationToken = default)
    {
        var transport = new InMemoryTransport();
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.Listen(transport.EndPoint));
        builder.Services.AddRouting().AddLogging()
            .AddSingleton<TimeProvider>(new FakeTimeProvider(TimeProvider.System.GetUtcNow()))
            .AddSingleton<IStartupFilter, TestClientMiddleware>();
        var added = builder.Services.AddBroadcast(options).UseConnect(TestClientMiddleware.TrackAsync);
        broadcast?.Invoke(added);
        var backplane = cluster is null ? null : new FaultyBackplane(cluster.CreateNode());
        if (backplane is not null) added.AddBackplane(_ => backplane);
        configure?.Invoke(builder);
        TrackNamedBroadcasts(builder.Services);
        builder.Services.AddSingleton<IConnectionListenerFactory>(transport);
        var app = builder.Build();
        try
        {
            if (map is null) app.MapBroadcast("/ws");
            else map(app);
            await app.StartAsync(cancellationToken);
        }
        catch
        {
            await app.DisposeAsync();
            throw;
        }

        return new(app, transport, backplane, cancellationToken);
    }

    /// <summary>
    /// Connects a WebSocket client without a subprotocol. When the task completes, the client has joined its home
    /// group, unless the server has closed the connection.
    /// </summary>
    /// <remarks>
    /// If a connect filter waits for the first message of the client, the task completes before the join. Send the
    /// message, and then call <see cref="WebSocketTestClient.PingAsync"/> to wait for the join.
    /// </remarks>
    /// <param name="path">The path and the query. Default: <c>/ws</c>.</param>
    /// <param name="userId">
    /// The ID of the authenticated user. If null, the client has the user of <paramref name="options"/>.
    /// </param>
    /// <param name="options">The options of the client. Null for the defaults.</param>
    /// <exception cref="BroadcastTestException">
    /// The server refused the connect: see <see cref="BroadcastTestException.StatusCode"/>.
    /// </exception>
    public async Task<RawTestClient> ConnectAsync(
        string path = "/ws", string? userId = null, TestClientOptions? options = null)
    {
        var (state, stream, wire) = await OpenAsync(path, userId, options, null);
        var client = Add(new RawTestClient(state, stream, wire));
        await client.PingAsync();
        return client;
    }

    /// <summary>
    /// Connects a client of the subprotocol <c>json.webpubsub.azure.v1</c>. When the task completes, the client has
    /// joined its home group. To let clients join and publish to groups, register an <see cref="IGroupAuthorizer"/>.
    /// </summary>
    /// <inheritdoc cref="ConnectAsync" path="/param|/exception"/>
    public async Task<StructuredTestClient> ConnectStructuredAsync(
        string path = "/ws", string? userId = null, TestClientOptions? options = null)
    {
        var (state, stream, wire) = await OpenAsync(path, userId, options, StructuredTestClient.Subprotocol);
        var client = Add(new StructuredTestClient(state, stream, wire));
        await client.ReadConnectedAsync();
        await client.PingAsync();
        return client;
    }

    /// <summary>
    /// Connects a client of server-sent events. When the task completes, the client has joined its home group, unless
    /// the server has closed the stream.
    /// </summary>
    /// <param name="path">The path and the query. Default: <c>/ws</c>.</param>
    /// <param name="userId">
    /// The ID of the authenticated user. If null, the client has the user of <paramref name="options"/>.
    /// </param>
    /// <param name="lastEventId">See <see cref="EventStreamTestClient.LastEventId"/>. Null for a new client.</param>
    /// <param name="options">The options of the client. Null for the defaults.</param>
    /// <inheritdoc cref="ConnectAsync" path="/exception"/>
    public async Task<EventStreamTestClient> ConnectEventStreamAsync(
        string path = "/ws", string? userId = null, string? lastEventId = null, TestClientOptions? options = null)
    {
        var state = CreateState(path, userId, options);
        var stream = _transport.Connect(state);
        try
        {
            var wire = new EventStreamWire(stream, Timeout, _cancellationToken);
            await wire.RequestAsync(
                path, "GET", "HTTP/1.1",
                [("Accept", "text/event-stream"), ("Last-Event-ID", lastEventId), .. GetHeaders(state)]);
            if (wire.Status != 200)
                throw CreateRefusal(path, wire.Status, await wire.ReadTextAsync());
            await state.Connected.WaitAsync(Timeout, _cancellationToken);
            return Add(new EventStreamTestClient(state, stream, wire));
        }
        catch
        {
            await stream.DisposeAsync();
            throw;
        }
    }

    /// <summary>Creates a client for the other endpoints of the app, for example <c>POST /news</c>.</summary>
    /// <param name="userId">The ID of the authenticated user. Null for an anonymous client.</param>
    /// <returns>A client with the base address <c>http://localhost/</c>. Dispose the client after use.</returns>
    public HttpClient CreateHttpClient(string? userId = null)
    {
        var state = CreateState("/", userId, null);
        var handler = new SocketsHttpHandler
        {
            ConnectCallback = (_, _) => new(_transport.Connect(state)),
            UseProxy = false,
        };
        return new(handler) { BaseAddress = new Uri("http://localhost/"), Timeout = Timeout };
    }

    /// <summary>
    /// Stops the app. The server closes its connections with close code 1001. The server waits for the answer of each
    /// client. So the clients must receive the close frame while this method runs.
    /// </summary>
    /// <remarks>
    /// The server closes up to 50 connections at once. If the host has more connections, or if a filter still runs,
    /// also advance the clock: see <see cref="Time"/>.
    /// </remarks>
    public Task StopAsync() => _app.StopAsync(_cancellationToken);

    /// <summary>
    /// Simulates a crash of the node. All clients lose their connections without a close frame, and the cluster removes
    /// the members of the node.
    /// </summary>
    /// <exception cref="InvalidOperationException">The host has no cluster.</exception>
    public async Task KillAsync()
    {
        Backplane.Lose();
        await DisposeAsync();
    }

    /// <summary>Disconnects all clients and stops the app.</summary>
    public async ValueTask DisposeAsync()
    {
        TestClient[] clients;
        lock (_gate)
        {
            if (_isDisposed) return;
            _isDisposed = true;
            clients = [.. _clients];
        }

        foreach (var client in clients) client.OnHostEnded();
        _app.Lifetime.StopApplication();
        await _app.DisposeAsync();
    }

    /// <summary>
    /// Adds the filter that tracks clients to each named broadcast. The default broadcast already has this filter.
    /// </summary>
    static void TrackNamedBroadcasts(IServiceCollection services)
    {
        var names = services
            .Where(static service => service.ServiceType == typeof(IBroadcaster) && service.IsKeyedService)
            .Select(static service => service.ServiceKey).OfType<string>().Distinct().ToArray();
        foreach (var name in names) services.AddBroadcast(name).UseConnect(TestClientMiddleware.TrackAsync);
    }

    static IEnumerable<(string Name, string? Value)> GetHeaders(TestClientState state) =>
        state.Options.Headers.Select(static header => (header.Key, (string?)header.Value));

    static BroadcastTestException CreateRefusal(string path, int status, string body)
    {
        var fix = status == 404
            ? "Map the path with MapBroadcast, or connect to another path."
            : $"The server answered: {(body.Length == 0 ? "(no text)" : body)}";
        return new($"The server refused the client at {path} with status {status}. {fix}") { StatusCode = status };
    }

    static TestClientState CreateState(string path, string? userId, TestClientOptions? options)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (!path.StartsWith('/'))
        {
            throw new ArgumentException(
                $"The path '{path}' does not start with '/'. Pass a path such as /ws.", nameof(path));
        }

        if (path.Any(static character => character is <= ' ' or >= '\x7f' or '#'))
        {
            throw new ArgumentException(
                $"The path '{path}' contains a character that a URL must escape. Call Uri.EscapeDataString for values.",
                nameof(path));
        }

        options ??= new();
        foreach (var (name, value) in options.Headers)
        {
            var isName = name.Length > 0 && !name.AsSpan().ContainsAny(" :\r\n");
            if (isName && !value.AsSpan().ContainsAny("\r\n")) continue;
            throw new ArgumentException(
                $"The header '{name}' has an invalid name, or its value contains a line break. Correct the header.",
                nameof(options));
        }

        if (userId is null) return new(options, options.User);
        if (options.User is not null)
            throw new ArgumentException("Both userId and the options contain a user. Pass one user.", nameof(userId));
        return new(options, TestClientOptions.CreateUser(userId));
    }

    async Task<(TestClientState State, InMemoryStream Stream, WebSocketWire Wire)> OpenAsync(
        string path, string? userId, TestClientOptions? options, string? subprotocol)
    {
        var state = CreateState(path, userId, options);
        var stream = _transport.Connect(state);
        try
        {
            var wire = new WebSocketWire(stream, Timeout, _cancellationToken);
            var answer = await wire.HandshakeAsync(
                path, [("Sec-WebSocket-Protocol", subprotocol), .. GetHeaders(state)]);
            if (answer.Status == 101) return (state, stream, wire);
            throw CreateRefusal(path, answer.Status, answer.Body);
        }
        catch
        {
            await stream.DisposeAsync();
            throw;
        }
    }

    T Add<T>(T client) where T : TestClient
    {
        lock (_gate)
        {
            if (!_isDisposed)
            {
                _clients.Add(client);
                return client;
            }
        }

        client.OnHostEnded();
        throw new BroadcastTestException("The host ended during the connect. Connect before you dispose the host.");
    }
}
