using System.Buffers.Binary;
using System.Net.WebSockets;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>Publishes the live figures of the start page, and the cursors of all visitors.</summary>
sealed class StartPage(
    IBroadcaster all, [FromKeyedServices(LocalBroadcast.Name)] IBroadcaster local, PhoneLink phone, TimeProvider time) : BackgroundService
{
    static readonly Recipients Visitors = Recipients.Group("/live");
    readonly SemaphoreSlim _joins = new(0);

    public static void Add(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(LocalBroadcast.Name, static options =>
            options.Groups["/*"] = new() { SlowConsumer = SlowConsumer.Conflate });
        builder.Services.AddSingleton<PhoneLink>().AddSingleton<StartPage>().AddSingleton<Game>().AddSingleton<Load>();
        builder.Services.AddHostedService(static services => services.GetRequiredService<StartPage>())
            .AddHostedService(static services => services.GetRequiredService<Game>())
            .AddHostedService(static services => services.GetRequiredService<Load>());
    }

    #region live
    public void Map(IEndpointRouteBuilder app) =>
        app.MapBroadcast("/live", LocalBroadcast.Name).UseConnect(JoinAsync).Use(MoveCursorAsync).UseDisconnect(LeaveAsync);

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
        DisplayName.Set(context);
        await next(context);
        if (context.Result.Joined) _joins.Release();
    }

    /// <summary>
    /// Publishes the position of a cursor: two uint16 values. An empty message means that the cursor has left.
    /// </summary>
    Task MoveCursorAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        var sender = context.Connection;
        if (context.Message is not { Type: MessageType.Binary, Payload.Length: 0 or 4 })
        {
            context.Close(WebSocketCloseStatus.PolicyViolation, "Send the position of a cursor in 4 bytes, or an empty binary message.");
            return Task.CompletedTask;
        }

        var cursor = new LiveCursor(sender.Id, DisplayName.Get(sender), Read(0), Read(2));
        context.Message = Message.FromJson(cursor, DemoJson.Default.LiveCursor) with { Key = sender.Id };
        context.ExcludeSender();
        return next(context);

        int? Read(int offset) =>
            context.Message.Payload.IsEmpty ? null : BinaryPrimitives.ReadUInt16LittleEndian(context.Message.Payload.Span[offset..]);
    }

    async Task LeaveAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        await next(context);
        await local.PublishAsync(new LiveCursor(context.Connection.Id, "", null, null), DemoJson.Default.LiveCursor, Visitors, context.Connection.Id);
    }
}
