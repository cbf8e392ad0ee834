using System.Net.WebSockets;
using System.Security.Claims;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;
using Microsoft.Extensions.Time.Testing;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// An app on the <see cref="TestServer"/> of ASP.NET Core, which has its own WebSocket implementation. The app uses the
/// whole framework except the network. By default, the app maps /ws to the default broadcast.
/// </summary>
sealed class InMemoryApp : IAsyncDisposable
{
    const string UserHeader = "X-Test-User";

    readonly WebApplication _app;

    InMemoryApp(WebApplication app) => _app = app;

    public IServiceProvider Services => _app.Services;

    public IBroadcaster Broadcaster => Services.GetRequiredService<IBroadcaster>();

    public IConnectionRegistry Registry => Services.GetRequiredService<IConnectionRegistry>();

    public TestServer Server => _app.GetTestServer();

    public FakeTimeProvider Time => (FakeTimeProvider)Services.GetRequiredService<TimeProvider>();

    public int GroupCount => Services.GetRequiredKeyedService<BroadcastInstance>("").Groups.Count;

    public IReadOnlyList<FakeLogRecord> Logs => Services.GetRequiredService<FakeLogCollector>().GetSnapshot();

    public IReadOnlyList<FakeLogRecord> Errors => [.. Logs.Where(record => record.Level >= LogLevel.Error)];

    public static async Task<InMemoryApp> StartAsync(
        Action<WebApplicationBuilder>? configure = null,
        Action<WebApplication>? map = null,
        Action<BroadcastOptions>? options = null,
        Action<IBroadcastBuilder>? broadcast = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders().AddFakeLogging().SetMinimumLevel(LogLevel.Debug);
        builder.WebHost.UseTestServer();
        var added = builder.Services.AddBroadcast(options);
        broadcast?.Invoke(added);
        configure?.Invoke(builder);
        var app = builder.Build();
        app.Use(static (context, next) =>
        {
            if (context.Request.Headers[UserHeader] is [{ } user])
                context.User = new ClaimsPrincipal(new ClaimsIdentity([new Claim(ClaimTypes.NameIdentifier, user)], "test"));
            return next(context);
        });
        if (map is null) app.MapBroadcast("/ws");
        else map(app);
        await app.StartAsync(TestContext.Current.CancellationToken);
        return new InMemoryApp(app);
    }

    /// <summary>Starts an app with a manual clock, for tests that call the endpoint with their own requests.</summary>
    public static Task<InMemoryApp> StartManualAsync(
        Action<BroadcastOptions>? options = null, IConnectionRegistry? registry = null, Action<IBroadcastBuilder>? broadcast = null) => StartAsync(
        builder =>
        {
            builder.Services.AddSingleton<TimeProvider>(new FakeTimeProvider());
            if (registry is not null) builder.Services.AddSingleton(registry);
        },
        options: options,
        broadcast: broadcast);

    /// <summary>Calls the endpoint with a request of the test. Does not wait for the end of the request.</summary>
    public Served Serve(ScriptedSocket? socket = null, Action<HttpContext>? configure = null)
    {
        var context = new DefaultHttpContext { RequestServices = Services };
        context.Response.Body = new MemoryStream();
        var lifetime = Substitute.For<IHttpRequestLifetimeFeature>();
        context.Features.Set(lifetime);
        if (socket is not null)
        {
            var handshake = Substitute.For<IHttpWebSocketFeature>();
            handshake.IsWebSocketRequest.Returns(true);
            handshake.AcceptAsync(Arg.Any<WebSocketAcceptContext>()).Returns(socket.Socket);
            context.Features.Set(handshake);
        }

        configure?.Invoke(context);
        var endpoint = ((IEndpointRouteBuilder)_app).DataSources.SelectMany(source => source.Endpoints).Single();
        return new Served(context, lifetime, endpoint.RequestDelegate!(context));
    }

    /// <summary>
    /// Calls the endpoint, and returns the connection after the connection has joined its home group.
    /// </summary>
    public async Task<(Served Served, Connection Connection)> ConnectAsync(ScriptedSocket socket)
    {
        var before = Registry.Connections.Select(connection => connection.Id).ToHashSet();
        var served = Serve(socket);
        return (served, await NewConnectionAsync(Registry, before));
    }

    /// <summary>Connects and waits until the connection can receive published messages.</summary>
    public async Task<Device> ConnectAsync(string path = "/ws", string? user = null, IConnectionRegistry? registry = null)
    {
        registry ??= Registry;
        var before = registry.Connections.Select(connection => connection.Id).ToHashSet();
        var socket = await OpenAsync(path, user);
        return new Device(socket, await NewConnectionAsync(registry, before));
    }

    /// <summary>Connects and waits only for the answer to the handshake.</summary>
    public Task<WebSocket> OpenAsync(string path = "/ws", string? user = null, Action<HttpRequest>? configure = null)
    {
        var client = Server.CreateWebSocketClient();
        client.ConfigureRequest = request =>
        {
            if (user is not null) request.Headers[UserHeader] = user;
            configure?.Invoke(request);
        };
        return client.ConnectAsync(new Uri("ws://localhost" + path), TestContext.Current.CancellationToken);
    }

    /// <summary>Returns the status code of a refused handshake.</summary>
    public async Task<int> RefusedWithAsync(string path = "/ws", string? user = null, Action<HttpRequest>? configure = null)
    {
        var refusal = await Assert.ThrowsAsync<InvalidOperationException>(() => OpenAsync(path, user, configure));
        return int.Parse(refusal.Message.Split(' ')[^1].TrimEnd('.'), System.Globalization.CultureInfo.InvariantCulture);
    }

    public void StopApplication() => _app.Lifetime.StopApplication();

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    static async Task<Connection> NewConnectionAsync(IConnectionRegistry registry, HashSet<string> before)
    {
        Connection? connection = null;
        await Eventually.True(() =>
            (connection = registry.Connections.Cast<Connection>().FirstOrDefault(other => !before.Contains(other.Id))) is { WasOpened: true });
        await PumpBarrier.PassAsync(connection!.Writer.Pump);
        return connection;
    }
}

/// <summary>A request of a test, and the task in which the endpoint serves the request.</summary>
sealed record Served(HttpContext Context, IHttpRequestLifetimeFeature Lifetime, Task Task)
{
    /// <summary>Completes when the request ends.</summary>
    public Task Ended => Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

    public string Body => Encoding.UTF8.GetString(((MemoryStream)Context.Response.Body).ToArray());
}
