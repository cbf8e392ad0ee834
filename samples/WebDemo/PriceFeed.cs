using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Prices that nobody pays: 50 symbols, 200 updates a second in all, while somebody listens. A symbol is its messages' key, so a listener
/// on a thin line is given the latest price of each in place of a growing backlog.
/// </summary>
sealed class PriceFeed(IBroadcaster broadcaster, IPresence presence, TimeProvider time) : BackgroundService
{
    public const string Group = "/prices";
    const int UpdatesPerTick = 10;

    static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(50);
    static readonly Recipients Listeners = Recipients.Group(Group);

    static readonly string[] Symbols =
    [
        "ALDER", "AMBER", "ASPEN", "BASIL", "BIRCH", "BRINE", "CEDAR", "CHALK", "CLOVE", "COBLT",
        "CORAL", "DELTA", "DRIFT", "EBONY", "EMBER", "FJORD", "FLINT", "FROST", "GLADE", "GRAIN",
        "HAZEL", "HERON", "INDGO", "IVORY", "JOLLY", "KELPY", "LARCH", "LINEN", "LOTUS", "MAPLE",
        "MERIT", "MOSSY", "NORTH", "OAKEN", "OCHRE", "OPALS", "ORBIT", "PEARL", "PLUME", "QUILL",
        "RAVEN", "RIDGE", "SABLE", "SLATE", "SOLAR", "SPRUC", "TIDAL", "UMBRA", "VELUM", "WHEAT",
    ];

    readonly Quote[] _quotes = [.. Symbols.Select(static symbol => new Quote(symbol, 20 + (Random.Shared.NextDouble() * 180)))];

    // Of the round that is under way, so many have had their turn.
    int _done;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (true)
        {
            // The first that there is to hear of a group is that somebody is in it.
            await presence.WatchAsync(Group, stoppingToken).FirstAsync(stoppingToken);
            using var timer = new PeriodicTimer(Tick, time);
            while (broadcaster.Connections.CountGroupMembers(Group) > 0)
            {
                await timer.WaitForNextTickAsync(stoppingToken);
                for (var i = 0; i < UpdatesPerTick; i++) await PublishNextAsync(stoppingToken);
            }
        }
    }

    /// <summary>Each has one turn in every round, in an order that is always new.</summary>
    async ValueTask PublishNextAsync(CancellationToken cancellationToken)
    {
        if (_done == _quotes.Length) _done = 0;
        if (_done == 0) Random.Shared.Shuffle(_quotes);
        var quote = _quotes[_done++];
        quote.Move();
        var message = Message.FromJson(
            new PriceUpdate(quote.Symbol, quote.Price, quote.Change, time.GetUtcNow().ToUnixTimeMilliseconds()), DemoJson.Default.PriceUpdate);
        await broadcaster.PublishAsync(message with { Key = quote.Symbol }, Listeners, cancellationToken);
    }

    /// <summary>A price that walks at random, and is drawn back to where it began.</summary>
    sealed class Quote(string symbol, double opening)
    {
        double _logarithm;

        public string Symbol => symbol;

        public double Price => Math.Round(opening * Math.Exp(_logarithm), 2);

        /// <summary>In percent, since the opening.</summary>
        public double Change => Math.Round((Math.Exp(_logarithm) - 1) * 100, 2);

        public void Move() => _logarithm = (_logarithm * 0.9995) + ((Random.Shared.NextDouble() - 0.5) * 0.004);
    }
}
