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
    const int MaxClients = 1000, MaxStartsPerTick = 50, TicksPerSecond = 10, ReportsPerSecond = 2;
    const string LocalOnly = "This page works only on the computer of the server, at http://localhost.";
    readonly Latencies _latencies = new();
    readonly SemaphoreSlim _changes = new(0);
    int _wanted;
    string? _problem;

    public void Map(IEndpointRouteBuilder app)
    {
        app.MapBroadcast("/load", LocalBroadcast.Name).UseConnect(RequireLocalAsync).Use(ChangeAsync);
        app.MapBroadcast("/load/clients", LocalBroadcast.Name).UseConnect(RequireLocalAsync).Use(static (_, _) => Task.CompletedTask);
    }

    #region load
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var clients = new List<Task>();
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1d / TicksPerSecond), time);
        for (var tick = 0; ; tick++)
        {
            if (_problem is not null || broadcaster.Connections.CountGroupMembers("/load") == 0) _wanted = 0;
            // The server has the same processors, so only some clients start at the same time.
            for (var i = 0; i < MaxStartsPerTick && clients.Count < _wanted; i++) clients.Add(RunClientAsync(clients.Count, stoppingToken));
            // Each client receives the time of the publish, and measures the time until the receipt.
            var published = BitConverter.GetBytes(Stopwatch.GetTimestamp());
            await broadcaster.PublishAsync(published, Recipients.Group("/load/clients"), cancellationToken: stoppingToken);
            await timer.WaitForNextTickAsync(stoppingToken);
            _problem ??= clients.Find(static client => client.IsFaulted)?.Exception?.InnerException?.Message;
            clients.RemoveAll(static client => client.IsCompleted);
            if (tick % (TicksPerSecond / ReportsPerSecond) == 0 || clients.Count == 0) await ReportAsync(clients.Count);
            if (clients.Count == 0 && _wanted == 0) await _changes.WaitAsync(stoppingToken);
        }
    }

    // If the viewers want fewer clients, the clients with the highest numbers end after their next message.
    async Task RunClientAsync(int number, CancellationToken cancellationToken)
    {
        using var socket = new ClientWebSocket();
        await socket.ConnectAsync(ServerAddress.GetLocalUrl(server, "/load/clients"), cancellationToken);
        var published = new byte[sizeof(long)];
        while (number < _wanted && (await socket.ReceiveAsync(published, cancellationToken)).MessageType == WebSocketMessageType.Binary)
            _latencies.Add(Stopwatch.GetElapsedTime(BitConverter.ToInt64(published)).TotalMilliseconds);
    }
    #endregion

    /// <summary>Publishes the figures. The group retains the latest figures for new viewers.</summary>
    async Task ReportAsync(int clients)
    {
        var (count, p50, p99) = _latencies.Take();
        var figures = new LoadFigures(_wanted, clients, count * ReportsPerSecond, p50, p99, Environment.WorkingSet >> 20, _problem);
        await broadcaster.PublishAsync(figures, DemoJson.Default.LoadFigures, Recipients.Group("/load"), "figures");
    }

    /// <summary>Starts or stops clients. The text of the message is the number of clients.</summary>
    Task ChangeAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        _problem = null;
        _wanted = int.TryParse(context.Text, CultureInfo.InvariantCulture, out var count) ? Math.Clamp(count, 0, MaxClients) : 0;
        _changes.Release();
        return Task.CompletedTask;
    }

    /// <summary>Also checks the host name, because the requests of a reverse proxy come from a loopback address.</summary>
    static async Task RequireLocalAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        var isLocal = IPAddress.IsLoopback(context.Connection.RemoteAddress ?? IPAddress.None)
            && context.HttpContext.Request.Host.Host is "localhost" or "127.0.0.1" or "[::1]";
        if (isLocal) await next(context);
        else context.Close(WebSocketCloseStatus.PolicyViolation, LocalOnly);
    }
}

/// <summary>The figures of the load page. The server sends these figures twice per second.</summary>
/// <param name="Wanted">The number of clients that the page has requested.</param>
/// <param name="Clients">The number of running clients.</param>
/// <param name="Deliveries">The number of messages per second that the clients received since the previous report.</param>
/// <param name="P50">The median time from publish to receive, in milliseconds. Null without deliveries.</param>
/// <param name="P99">The 99th percentile of the time from publish to receive, in milliseconds. Null without deliveries.</param>
/// <param name="Memory">The memory of the process, in MB. The clients are in the same process.</param>
/// <param name="Problem">The reason why the clients stopped. Null without a problem.</param>
sealed record LoadFigures(int Wanted, int Clients, int Deliveries, double? P50, double? P99, long Memory, string? Problem);
