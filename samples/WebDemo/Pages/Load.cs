using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.WebSockets;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Hosting.Server;

namespace WebDemo;

/// <summary>Runs up to 1,000 WebSocket clients in this process for the load page. The page works only on this computer.</summary>
sealed class Load([FromKeyedServices(LocalBroadcast.Name)] IBroadcaster broadcaster, IServer server, TimeProvider time) : BackgroundService
{
    const int MaxCount = 1000, MaxStartsPerTick = 50, TicksPerSecond = 10, TicksPerReport = 5;
    readonly Latencies _latencies = new();
    readonly SemaphoreSlim _joins = new(0);
    int _wanted;
    string? _problem;

    public void Map(IEndpointRouteBuilder app)
    {
        app.MapBroadcast("/load", LocalBroadcast.Name).UseConnect(JoinAsync).Use(ChangeAsync);
        app.MapBroadcast("/load/clients", LocalBroadcast.Name).UseConnect(JoinAsync).Use(static (_, _) => Task.CompletedTask);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var clients = new List<Task>();
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1d / TicksPerSecond), time);
        for (var tick = 0; ; tick++)
        {
            if (_problem is not null || broadcaster.Connections.CountGroupMembers("/load") == 0) _wanted = 0;
            #region load
            // The server has the same processors, so each tick starts only some clients.
            for (var i = 0; i < MaxStartsPerTick && clients.Count < _wanted; i++) clients.Add(RunClientAsync(clients.Count, stoppingToken));
            // Each client receives the time of the publish, and measures the time until the receipt.
            var published = BitConverter.GetBytes(Stopwatch.GetTimestamp());
            await broadcaster.PublishAsync(published, Recipients.Group("/load/clients"), cancellationToken: stoppingToken);
            #endregion
            await timer.WaitForNextTickAsync(stoppingToken);
            _problem ??= clients.Find(static client => client.IsFaulted)?.Exception?.InnerException?.Message;
            clients.RemoveAll(static client => client.IsCompleted);
            if (tick % TicksPerReport == 0) await ReportAsync(broadcaster.Connections.CountGroupMembers("/load/clients"));
            if (clients.Count == 0 && broadcaster.Connections.CountGroupMembers("/load") == 0) await _joins.WaitAsync(stoppingToken);
        }
    }

    // If the viewers want fewer clients, the clients with the highest numbers end after their next message.
    async Task RunClientAsync(int number, CancellationToken cancellationToken)
    {
        #region load
        using var socket = new ClientWebSocket();
        await socket.ConnectAsync(ServerAddress.GetLocalUrl(server, "/load/clients"), cancellationToken);
        var published = new byte[sizeof(long)];
        while (number < _wanted && (await socket.ReceiveAsync(published, cancellationToken)).MessageType == WebSocketMessageType.Binary)
            _latencies.Add(Stopwatch.GetElapsedTime(BitConverter.ToInt64(published)).TotalMilliseconds);
        #endregion
        if (number < _wanted && socket.CloseStatus is { } status)
            throw new WebSocketException($"The server closed a client with status {(int)status}: {socket.CloseStatusDescription}");
    }

    async Task ReportAsync(int clients)
    {
        var (deliveries, p50, p99) = _latencies.Take();
        var figures = new LoadFigures(_wanted, clients, (int)deliveries, p50, p99, Environment.WorkingSet >> 20, _problem);
        await broadcaster.PublishAsync(figures, DemoJson.Default.LoadFigures, Recipients.Group("/load"), "figures");
    }

    /// <summary>Starts or stops clients. The text of the message is the number of clients.</summary>
    Task ChangeAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        (_problem, _wanted) = (null, int.TryParse(context.Text, CultureInfo.InvariantCulture, out var n) ? Math.Clamp(n, 0, MaxCount) : 0);
        return Task.CompletedTask;
    }

    /// <summary>Accepts only connections from this computer.</summary>
    async Task JoinAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        // The first viewer starts with a stopped load and without an old problem.
        if (broadcaster.Connections.CountGroupMembers("/load") == 0) (_wanted, _problem) = (0, null);
        // The requests of a reverse proxy also come from a loopback address, so this condition also checks the host name.
        if (IPAddress.IsLoopback(context.Connection.RemoteAddress ?? IPAddress.None)
            && context.HttpContext.Request.Host.Host is "localhost" or "127.0.0.1" or "[::1]") await next(context);
        else context.Close(WebSocketCloseStatus.PolicyViolation, "This page works only on the server's computer, at http://localhost.");
        // The loop waits until a viewer joins, because only viewers receive reports.
        if (context.Result.Joined && context.Connection.HomeGroup == "/load") _joins.Release();
    }
}

/// <summary>The figures of the load page. The server sends these figures twice per second.</summary>
/// <param name="Wanted">The number of clients that the page has requested.</param>
/// <param name="Clients">The number of connected clients.</param>
/// <param name="Deliveries">The number of messages per second that the clients received since the previous report.</param>
/// <param name="P50">The median time from publish to receive, in milliseconds. Null without deliveries.</param>
/// <param name="P99">The 99th percentile of the time from publish to receive, in milliseconds. Null without deliveries.</param>
/// <param name="Memory">The memory of the process, in MB. The clients are in the same process.</param>
/// <param name="Problem">The reason why the clients stopped. Null without a problem.</param>
sealed record LoadFigures(int Wanted, int Clients, int Deliveries, double? P50, double? P99, long Memory, string? Problem);
