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

    readonly Quotes _quotes = new();
    bool _hasLoggedRefusal;

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
        _quotes.StartRound();
        for (var i = 0; i < _quotes.Count; i++) await PublishNextAsync(cancellationToken);
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
            for (var i = 0; i < UpdatesPerTick; i++) await PublishNextAsync(cancellationToken);
        }
    }

    async ValueTask PublishNextAsync(CancellationToken cancellationToken)
    {
        try
        {
            await broadcaster.PublishAsync(_quotes.MoveNext().ToMessage(time.GetUtcNow()), GroupMembers, cancellationToken);
        }
        catch (InvalidOperationException exception)
        {
            // The group already retains the maximum number of keys or bytes. The feed skips this price and continues.
            if (!_hasLoggedRefusal) LogRefusal(exception.Message);
            _hasLoggedRefusal = true;
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "The price feed cannot reach the cluster and tries again. {Problem}")]
    partial void LogPause(string problem);

    [LoggerMessage(2, LogLevel.Warning, "The group of the prices refuses some prices, so the price feed skips these prices. {Problem}")]
    partial void LogRefusal(string problem);
}
