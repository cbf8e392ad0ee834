using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Publishes random prices while the group /prices has members. The feed publishes 200 prices per second in total.
/// </summary>
/// <remarks>
/// The key of a message is its symbol. The group retains the latest price of each symbol, so a new client starts with
/// all prices. A client with a slow network gets the latest price of each symbol instead of a growing backlog. The tags
/// of a message are its symbol and its market, so a client can choose a filter. appsettings.json contains the
/// symbols and their markets.
/// </remarks>
sealed partial class Prices(IBroadcaster broadcaster, IPresence presence, IConfiguration settings, TimeProvider time, ILogger<Prices> logger) : BackgroundService
{
    readonly Dictionary<string, Quote> _quotes = settings.GetSection("Symbols").GetChildren()
        .ToDictionary(static symbol => symbol.Key, static symbol => new Quote(symbol.Key, symbol.Value!, Random.Shared.Next(20, 200)));
    // The symbols with a refused price, so that the feed logs one refusal of each symbol.
    readonly HashSet<string> _refused = [];

    /// <summary>Maps a URL that sends 20 prices per second to each client, like a slow network.</summary>
    public static void Map(IEndpointRouteBuilder app) =>
        app.MapBroadcast("/prices/throttled").Use(static (_, _) => Task.CompletedTask).UseConnect(static async (context, next) =>
        {
            await next(context);
            if (context.Result.Joined) _ = CopyAsync(context.Broadcaster, context.Connection.Id, context.Connection.ConnectionAborted);
        });

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(50), time);
        // At first, the feed publishes a price of each symbol, so that the first client also starts with all prices.
        for (var count = _quotes.Count; ; await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                foreach (var quote in _quotes.Values.Shuffle().Take(count))
                {
                    _quotes[quote.Symbol] = quote.Move(time.GetUtcNow());
                    try
                    {
                        #region prices
                        await broadcaster.PublishAsync(_quotes[quote.Symbol].ToMessage(), Recipients.Group("/prices"), stoppingToken);
                        #endregion
                    }
                    catch (InvalidOperationException exception)
                    {
                        // The group already retains the maximum number of keys or bytes. The feed skips this price.
                        if (_refused.Add(quote.Symbol)) LogProblem(exception.Message);
                    }
                }

                count = 10;
                // Without members on any node, the feed waits for the first join. Only a feed without members on its own
                // node asks the cluster.
                if (broadcaster.Connections.CountGroupMembers("/prices") == 0 && await presence.CountAsync("/prices", stoppingToken) == 0)
                    await presence.WatchAsync("/prices", stoppingToken).FirstAsync(stoppingToken);
            }
            catch (BackplaneException exception)
            {
                // An exception would stop the host. The next prices are newer, so no message needs to be repeated.
                LogProblem(exception.Message);
                await Task.Delay(TimeSpan.FromSeconds(1), time, stoppingToken);
            }
        }
    }

    /// <summary>Copies prices to one connection. A disconnect of the client cancels the task.</summary>
    static async Task CopyAsync(IBroadcaster broadcaster, string connectionId, CancellationToken aborted)
    {
        #region prices
        // Whenever the reader is behind, it skips the prices that a newer price of the same symbol replaces.
        await foreach (var item in broadcaster.ReadAsync("/prices", new ReadOptions { SlowConsumer = SlowConsumer.Conflate }, aborted))
        {
            await broadcaster.PublishAsync(item.Message, Recipients.Connection(connectionId), aborted);
            await Task.Delay(TimeSpan.FromSeconds(1d / 20), aborted);
        }
        #endregion
    }

    [LoggerMessage(1, LogLevel.Warning, "The price feed could not publish a price, and continues. {Problem}")]
    partial void LogProblem(string problem);
}
