using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;
using Microsoft.Extensions.Time.Testing;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>An endpoint at /ws in an app without a server. Tests call its delegate with their own requests and a manual clock.</summary>
sealed class MappedBroadcast : IAsyncDisposable
{
    readonly WebApplication _app;
    readonly RequestDelegate _endpoint;

    public MappedBroadcast(
        Action<BroadcastOptions>? options = null, IConnectionRegistry? registry = null, Action<IBroadcastBuilder>? broadcast = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders().AddFakeLogging().SetMinimumLevel(LogLevel.Debug);
        builder.Services.AddSingleton<TimeProvider>(Time);
        if (registry is not null) builder.Services.AddSingleton(registry);
        var added = builder.Services.AddBroadcast(options);
        broadcast?.Invoke(added);
        _app = builder.Build();
        _app.MapBroadcast("/ws");
        _endpoint = ((IEndpointRouteBuilder)_app).DataSources.SelectMany(source => source.Endpoints).Single().RequestDelegate!;
    }

    public FakeTimeProvider Time { get; } = new();

    public IBroadcaster Broadcaster => _app.Services.GetRequiredService<IBroadcaster>();

    public IConnectionRegistry Registry => _app.Services.GetRequiredService<IConnectionRegistry>();

    public int GroupCount => _app.Services.GetRequiredKeyedService<BroadcastInstance>("").Groups.Count;

    public IReadOnlyList<FakeLogRecord> Logs => _app.Services.GetRequiredService<FakeLogCollector>().GetSnapshot();

    public IEnumerable<FakeLogRecord> Errors => Logs.Where(record => record.Level >= LogLevel.Error);

    /// <summary>Sends a request without waiting for its end.</summary>
    public Served Serve(ScriptedSocket? socket = null, Action<HttpContext>? configure = null)
    {
        var context = new DefaultHttpContext { RequestServices = _app.Services };
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
        return new Served(context, lifetime, _endpoint(context));
    }

    /// <summary>Sends a request, and returns its connection after the connection has joined its group.</summary>
    public async Task<(Served Served, Connection Connection)> ConnectAsync(ScriptedSocket socket)
    {
        var before = Registry.Connections.ToHashSet();
        var served = Serve(socket);
        Connection? connection = null;
        await Eventually.True(() => (connection = (Connection?)Registry.Connections.FirstOrDefault(other => !before.Contains(other))) is { WasOpened: true });
        await PumpBarrier.PassAsync(connection!.Writer.Pump);
        return (served, connection);
    }

    public void StopApplication() => _app.Lifetime.StopApplication();

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}

sealed record Served(HttpContext Context, IHttpRequestLifetimeFeature Lifetime, Task Task)
{
    /// <summary>Ends when the request has.</summary>
    public Task Ended => Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

    public string Body => Encoding.UTF8.GetString(((MemoryStream)Context.Response.Body).ToArray());
}
