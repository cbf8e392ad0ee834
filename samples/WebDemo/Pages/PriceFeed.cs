using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Publishes random prices while the group has members. The feed has 50 symbols, and 200 updates per second in total.
/// </summary>
/// <remarks>
/// The key of a message is its symbol. The group retains the latest price of each symbol, so a new client starts with
/// all prices. A client with a slow network gets the latest price of each symbol instead of a growing backlog. The tags
/// of a message are its symbol and its market, so a client can choose a filter.
/// </remarks>
sealed partial class PriceFeed(IBroadcaster broadcaster, IPresence presence, TimeProvider time, ILogger<PriceFeed> logger) : BackgroundService
{
    const string Symbols =
        "ALDER AMBER ASPEN BASIL BIRCH BRINE CEDAR CHALK CLOVE COBLT CORAL DELTA DRIFT EBONY EMBER FJORD FLINT FROST GLADE GRAIN " +
        "HAZEL HERON INDGO IVORY JOLLY KELPY LARCH LINEN LOTUS MAPLE MERIT MOSSY NORTH OAKEN OCHRE OPALS ORBIT PEARL PLUME QUILL " +
        "RAVEN RIDGE SABLE SLATE SOLAR SPRUC TIDAL UMBRA VELUM WHEAT";
    static readonly string[] Markets = ["north", "east", "south"];
    readonly Quote[] _quotes = [.. Symbols.Split(' ').Select(static (symbol, index) => new Quote(symbol, Markets[index % Markets.Length]))];
    bool _hasLoggedRefusal;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(50), time);
        // At first, the feed publishes a price of each symbol, so that the first client also starts with all prices.
        var count = _quotes.Length;
        do
        {
            try
            {
                #region feed
                Random.Shared.Shuffle(_quotes);
                foreach (var quote in _quotes.Take(count)) await PublishAsync(quote.Move(time.GetUtcNow()), stoppingToken);
                count = 10;
                // Without members on any node, the feed waits for the first join. Only a feed without members on its own
                // node asks the cluster.
                if (broadcaster.Connections.CountGroupMembers("/prices") == 0 && await presence.CountAsync("/prices", stoppingToken) == 0)
                    await presence.WatchAsync("/prices", stoppingToken).FirstAsync(stoppingToken);
                #endregion
            }
            catch (BackplaneException exception)
            {
                // An exception would stop the host. The next prices are newer, so no message needs to be repeated.
                LogProblem(exception.Message);
                await Task.Delay(TimeSpan.FromSeconds(1), time, stoppingToken);
            }
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    async ValueTask PublishAsync(Message price, CancellationToken cancellationToken)
    {
        try
        {
            await broadcaster.PublishAsync(price, Recipients.Group("/prices"), cancellationToken);
        }
        catch (InvalidOperationException exception)
        {
            // The group already retains the maximum number of keys or bytes. The feed skips this price and continues.
            if (!_hasLoggedRefusal) LogProblem(exception.Message);
            _hasLoggedRefusal = true;
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "The price feed could not publish a price, and continues. {Problem}")]
    partial void LogProblem(string problem);
}
