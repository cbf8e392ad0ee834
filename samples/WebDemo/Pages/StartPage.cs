using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Publishes the live figures of the start page, while the page has visitors. The group retains the latest figures for new
/// visitors. <see cref="LiveCursors"/> maps the URL of the page.
/// </summary>
sealed class StartPage(
    IConnectionRegistry shared, [FromKeyedServices(Members.BroadcastName)] IConnectionRegistry members,
    [FromKeyedServices(LocalBroadcast.Name)] IBroadcaster local, [FromKeyedServices(LocalBroadcast.Name)] IPresence presence,
    PhoneLink phone, TimeProvider time) : BackgroundService
{
    static readonly Recipients Visitors = Recipients.Group("/live");

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1), time);
        while (true)
        {
            #region live
            // The first presence change is the join of the first visitor.
            await presence.WatchAsync("/live", stoppingToken).FirstAsync(stoppingToken);
            using var meter = new DeliveryMeter();
            while (local.Connections.CountGroupMembers("/live") > 0 && await timer.WaitForNextTickAsync(stoppingToken))
                await local.PublishAsync(Measure(meter), DemoJson.Default.LiveFigures, Visitors, "figures", stoppingToken);
            #endregion
        }
    }

    LiveFigures Measure(DeliveryMeter meter)
    {
        var (messages, p99) = meter.Read();
        return new(CountPages(), messages, p99, phone.Url);
    }

    /// <summary>Counts the open pages. Some pages have two connections.</summary>
    int CountPages()
    {
        // A start page has a connection to /live and a connection to /prices.
        var startOrPrices = Math.Max(local.Connections.CountGroupMembers("/live"), shared.CountGroupMembers("/prices"));
        var all = shared.Connections.Concat(members.Connections).Concat(local.Connections.Connections);
        return startOrPrices + all.Count(static connection => IsOtherPage(connection.HomeGroup));
    }

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
