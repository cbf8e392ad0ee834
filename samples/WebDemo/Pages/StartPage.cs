using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Publishes the live figures of the start page. The group retains the latest figures for new visitors.
/// <see cref="LiveCursorFilter"/> publishes the cursors of the visitors.
/// </summary>
sealed class StartPage(
    IBroadcaster all, [FromKeyedServices(LocalBroadcast.Name)] IBroadcaster local, PhoneLink phone, TimeProvider time) : BackgroundService
{
    static readonly Recipients Visitors = Recipients.Group("/live");
    readonly SemaphoreSlim _joins = new(0);

    public static void Add(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(LocalBroadcast.Name, builder.Configuration.GetSection("Local"));
        builder.Services.AddSingleton<PhoneLink>().AddSingleton<StartPage>().AddSingleton<Game>().AddSingleton<Load>();
        builder.Services.AddHostedService(static services => services.GetRequiredService<StartPage>())
            .AddHostedService(static services => services.GetRequiredService<Game>())
            .AddHostedService(static services => services.GetRequiredService<Load>());
    }

    #region live
    public void Map(IEndpointRouteBuilder app) =>
        app.MapBroadcast("/live", LocalBroadcast.Name).UseConnect(JoinAsync).Use<LiveCursorFilter>();

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1), time);
        while (true)
        {
            while (local.Connections.CountGroupMembers("/live") == 0) await _joins.WaitAsync(stoppingToken);
            using var meter = new DeliveryMeter();
            while (local.Connections.CountGroupMembers("/live") > 0 && await timer.WaitForNextTickAsync(stoppingToken))
                await local.PublishAsync(Measure(meter), DemoJson.Default.LiveFigures, Visitors, "figures", stoppingToken);
        }
    }
    #endregion

    LiveFigures Measure(DeliveryMeter meter)
    {
        var people = all.Connections.Count + local.Connections.Count - local.Connections.CountGroupMembers("/load/clients");
        var (messages, p99) = meter.Read();
        return new(people, messages, p99, phone.Url);
    }

    async Task JoinAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        if (context.Result.Joined) _joins.Release();
    }
}
