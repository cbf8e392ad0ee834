using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Hosting.Server;

namespace WebDemo;

/// <summary>Runs up to 1,000 WebSocket clients in this process for the load page. The page works only on this computer.</summary>
sealed class Load([FromKeyedServices(LocalBroadcast.Name)] IBroadcaster broadcaster, IServer server, TimeProvider time) : BackgroundService
{
    const int MaxClients = 1000, TicksPerSecond = 10, TicksPerReport = 5;
    static readonly Recipients Viewers = Recipients.Group("/load"), Clients = Recipients.Group("/load/clients");
    readonly ConcurrentQueue<double> _latencies = [];
    readonly SemaphoreSlim _starts = new(0);
    int _wanted;

    #region load
    public void Map(IEndpointRouteBuilder app)
    {
        app.MapBroadcast("/load/clients", LocalBroadcast.Name).Use<LocalOnlyFilter>().Use(static (_, _) => Task.CompletedTask);
        app.MapBroadcast("/load", LocalBroadcast.Name).Use<LocalOnlyFilter>()
            .UseConnect(JoinAsync).Use(ChangeAsync).UseDisconnect(StopWithoutViewersAsync);
    }
    #endregion

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1d / TicksPerSecond), time);
        while (true)
        {
            while (_wanted == 0) await _starts.WaitAsync(stoppingToken);
            var (url, count, problem) = (ServerAddress.GetLocalUrl(server, "/load/clients"), _wanted, default(string));
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken);
            var clients = Enumerable.Range(0, count).Select(_ => LoadClient.RunAsync(url, _latencies, stop.Token)).ToList();
            for (var tick = 1; _wanted == count && problem is null; tick++)
            {
                await timer.WaitForNextTickAsync(stoppingToken);
                await broadcaster.PublishAsync(BitConverter.GetBytes(Stopwatch.GetTimestamp()), Clients, cancellationToken: stoppingToken);
                problem = clients.Find(static client => client.IsFaulted)?.Exception?.InnerException?.Message;
                if (problem is not null) _wanted = 0;
                if (tick % TicksPerReport == 0) await ReportAsync(count, problem);
            }

            await stop.CancelAsync();
            await Task.WhenAll(clients).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            while (broadcaster.Connections.CountGroupMembers("/load/clients") > 0) await timer.WaitForNextTickAsync(stoppingToken);
            await ReportAsync(_wanted, problem);
        }
    }

    async Task ReportAsync(int wanted, string? problem)
    {
        var (deliveries, percentiles) = (_latencies.Count * TicksPerSecond / TicksPerReport, Percentile.Take(_latencies, 0.5, 0.99));
        var open = broadcaster.Connections.CountGroupMembers("/load/clients");
        var figures = new LoadFigures(wanted, open, deliveries, percentiles[0], percentiles[1], Environment.WorkingSet >> 20, problem);
        await broadcaster.PublishAsync(figures, DemoJson.Default.LoadFigures, Viewers, "figures");
    }

    async Task JoinAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        if (_wanted == 0) await ReportAsync(0, null);
    }

    /// <summary>Starts or stops the clients. The text of the message is the number of clients.</summary>
    Task ChangeAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        var count = int.TryParse(context.Text, CultureInfo.InvariantCulture, out var number) ? Math.Clamp(number, 0, MaxClients) : 0;
        if (Interlocked.Exchange(ref _wanted, count) == 0 && count > 0) _starts.Release();
        return Task.CompletedTask;
    }

    async Task StopWithoutViewersAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        await next(context);
        if (broadcaster.Connections.CountGroupMembers("/load") == 0) _wanted = 0;
    }
}
