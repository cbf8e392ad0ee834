using System.Net.WebSockets;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Publishes the live figures of the start page, while the page has visitors. The group retains the latest figures for new
/// visitors.
/// </summary>
sealed class StartPage(
    [FromKeyedServices(LocalBroadcast.Name)] IBroadcaster local, [FromKeyedServices(LocalBroadcast.Name)] IPresence presence,
    [FromKeyedServices(Members.BroadcastName)] IConnectionRegistry members, IConnectionRegistry shared, PhoneLink phone, TimeProvider time)
    : BackgroundService
{
    public static void Map(IEndpointRouteBuilder app) => app.MapBroadcast("/live", LocalBroadcast.Name).Use(static (context, next) =>
    {
        if (context.Message.Type == MessageType.Binary) return next(context);
        context.Close(WebSocketCloseStatus.InvalidMessageType, "This URL accepts binary messages only.");
        return Task.CompletedTask;
    }).Use<CursorFilter>();

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1), time);
        while (true)
        {
            // The first presence change is the join of the first visitor.
            await presence.WatchAsync("/live", stoppingToken).FirstAsync(stoppingToken);
            using var meter = new DeliveryMeter();
            while (local.Connections.CountGroupMembers("/live") > 0 && await timer.WaitForNextTickAsync(stoppingToken))
            {
                #region live
                var (messages, p99) = meter.Read();
                var figures = new LiveFigures(CountPages(), messages, p99, phone.Url);
                await local.PublishAsync(figures, DemoJson.Default.LiveFigures, Recipients.Group("/live"), "figures", stoppingToken);
                #endregion
            }
        }
    }

    /// <summary>Counts the open pages. Some pages have two connections.</summary>
    int CountPages() =>
        // A start page has a connection to /live and a connection to /prices.
        Math.Max(local.Connections.CountGroupMembers("/live"), shared.CountGroupMembers("/prices"))
        + shared.Connections.Concat(members.Connections).Concat(local.Connections.Connections)
            .Count(static connection => IsOtherPage(connection.HomeGroup));

    // The count omits the second connection of a throttled page and of a chat page, and the clients of the load page.
    static bool IsOtherPage(string url) =>
        url is not ("/live" or "/prices" or "/prices/throttled" or "/load/clients") && url.Split('/') is not [_, "rooms", _, "typing"];
}

/// <summary>The figures of the start page. The server sends these figures each second.</summary>
/// <param name="People">The number of open pages. Another client counts as one page.</param>
/// <param name="MessagesPerSecond">The number of messages that the server delivered in the last second.</param>
/// <param name="P99">The 99th percentile of the time from publish to write, in milliseconds. Null without deliveries.</param>
/// <param name="PhoneUrl">The URL of this computer for a phone. Null if the demo listens only on localhost.</param>
sealed record LiveFigures(int People, long MessagesPerSecond, double? P99, string? PhoneUrl);
