using System.Collections.Concurrent;
using Broadcast.Middleware;

namespace Broadcast.Recipes.Tests;

/// <summary>Keeps a copy of the orders.</summary>
sealed class OrderBook(IBroadcaster broadcaster, OrderDatabase database, TimeProvider time) : BackgroundService
{
    readonly ConcurrentDictionary<string, string> _orders = new();
    Position _last;

    public IReadOnlyDictionary<string, string> Orders => _orders;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (true)
        {
            try
            {
                await ReadAsync(stoppingToken);
                return; // The app shuts down.
            }
            catch (Exception exception) when (exception is BackplaneException or MessagesMissedException)
            {
                await Task.Delay(TimeSpan.FromSeconds(1), time, stoppingToken);
            }
        }
    }

    async Task ReadAsync(CancellationToken cancellationToken)
    {
        var options = new ReadOptions { Replay = Replay.After(_last), SlowConsumer = SlowConsumer.SkipToLatest };
        await foreach (var item in broadcaster.ReadAsync("/orders", options, cancellationToken))
        {
            if (item.IsGap)
                foreach (var (id, order) in await database.LoadAsync(cancellationToken)) _orders[id] = order;
            else if (item.Message.Key is { } id)
                _orders[id] = item.ToString();
            _last = item.Position ?? _last;
        }
    }
}

/// <summary>The database of the orders.</summary>
sealed class OrderDatabase
{
    readonly ConcurrentDictionary<string, string> _orders = new();

    /// <summary>The number of loads.</summary>
    public int Loads { get; private set; }

    public void Save(string id, string order) => _orders[id] = order;

    public Task<IReadOnlyDictionary<string, string>> LoadAsync(CancellationToken cancellationToken)
    {
        Loads++;
        return Task.FromResult<IReadOnlyDictionary<string, string>>(new Dictionary<string, string>(_orders));
    }
}
