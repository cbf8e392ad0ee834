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
    public const string Group = "/prices";
    const int UpdatesPerTick = 10;

    static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(50), RetryDelay = TimeSpan.FromSeconds(1);
    static readonly Recipients GroupMembers = Recipients.Group(Group);

    static readonly string[] Symbols =
    [
        "ALDER", "AMBER", "ASPEN", "BASIL", "BIRCH", "BRINE", "CEDAR", "CHALK", "CLOVE", "COBLT",
        "CORAL", "DELTA", "DRIFT", "EBONY", "EMBER", "FJORD", "FLINT", "FROST", "GLADE", "GRAIN",
        "HAZEL", "HERON", "INDGO", "IVORY", "JOLLY", "KELPY", "LARCH", "LINEN", "LOTUS", "MAPLE",
        "MERIT", "MOSSY", "NORTH", "OAKEN", "OCHRE", "OPALS", "ORBIT", "PEARL", "PLUME", "QUILL",
        "RAVEN", "RIDGE", "SABLE", "SLATE", "SOLAR", "SPRUC", "TIDAL", "UMBRA", "VELUM", "WHEAT",
    ];

    static readonly string[] Markets = ["north", "east", "south"];

    readonly Quote[] _quotes = [.. Symbols.Select(static (symbol, index) =>
        new Quote(symbol, Markets[index % Markets.Length], 20 + (Random.Shared.NextDouble() * 180)))];

    // The number of symbols that have received a new price in the current round.
    int _updatedInRound;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var hasOpened = false;
        while (true)
        {
            try
            {
                if (!hasOpened) await PublishOpeningPricesAsync(stoppingToken);
                hasOpened = true;
                await PublishWhileWatchedAsync(stoppingToken);
            }
            catch (BackplaneException exception)
            {
                // An exception would stop the host. The next prices are newer, so no message needs to be repeated.
                LogPause(exception.Message);
                await Task.Delay(RetryDelay, time, stoppingToken);
            }
        }
    }

    /// <summary>Publishes one price of each symbol, so that the first client also starts with all prices.</summary>
    async Task PublishOpeningPricesAsync(CancellationToken cancellationToken)
    {
        _updatedInRound = 0;
        foreach (var _ in _quotes) await TryPublishNextAsync(cancellationToken);
    }

    /// <summary>Waits for the first member of the group on any node, and publishes until the group is empty.</summary>
    async Task PublishWhileWatchedAsync(CancellationToken cancellationToken)
    {
        // The first presence change is the join of the first member.
        await presence.WatchAsync(Group, cancellationToken).FirstAsync(cancellationToken);
        using var timer = new PeriodicTimer(Tick, time);
        // Only a feed without viewers on its own node asks the cluster.
        while (broadcaster.Connections.CountGroupMembers(Group) > 0 || await presence.CountAsync(Group, cancellationToken) > 0)
        {
            await timer.WaitForNextTickAsync(cancellationToken);
            for (var i = 0; i < UpdatesPerTick; i++) await TryPublishNextAsync(cancellationToken);
        }
    }

    async ValueTask TryPublishNextAsync(CancellationToken cancellationToken)
    {
        try
        {
            await PublishNextAsync(cancellationToken);
        }
        catch (InvalidOperationException exception)
        {
            // Other publishers have filled the retained values of the group. The other symbols still get new prices.
            LogRefused(exception.Message);
        }
    }

    #region prices
    /// <summary>Publishes one new price. Each round updates every symbol once, in a new random order.</summary>
    async ValueTask PublishNextAsync(CancellationToken cancellationToken)
    {
        if (_updatedInRound == _quotes.Length) _updatedInRound = 0;
        if (_updatedInRound == 0) Random.Shared.Shuffle(_quotes);
        var quote = _quotes[_updatedInRound++];
        quote.Move();
        var update = new PriceUpdate(quote.Symbol, quote.Price, quote.Change, time.GetUtcNow().ToUnixTimeMilliseconds());
        var message = Message.FromJson(update, DemoJson.Default.PriceUpdate) with { Key = quote.Symbol, Tags = quote.Tags };
        await broadcaster.PublishAsync(message, GroupMembers, cancellationToken);
    }
    #endregion

    [LoggerMessage(1, LogLevel.Warning, "The price feed cannot reach the cluster and tries again. {Problem}")]
    partial void LogPause(string problem);

    [LoggerMessage(2, LogLevel.Warning, "The price feed skips a price, because the group refuses it. {Problem}")]
    partial void LogRefused(string problem);

    /// <summary>A price that moves at random and tends to return to its opening value.</summary>
    sealed class Quote(string symbol, string market, double opening)
    {
        double _logarithm;

        public string Symbol => symbol;

        public MessageTags Tags { get; } = MessageTags.Create(("symbol", symbol), ("market", market));

        public double Price => Math.Round(opening * Math.Exp(_logarithm), 2);

        /// <summary>The change since the opening, in percent.</summary>
        public double Change => Math.Round((Math.Exp(_logarithm) - 1) * 100, 2);

        public void Move() => _logarithm = (_logarithm * 0.9995) + ((Random.Shared.NextDouble() - 0.5) * 0.004);
    }
}
