using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>A game: players catch a star. The server moves the players, and publishes 30 binary states per second.</summary>
sealed class Game([FromKeyedServices(LocalBroadcast.Name)] IBroadcaster broadcaster, TimeProvider time) : BackgroundService
{
    const int Width = 1600, Height = 900, Reach = 50;
    static readonly Recipients AllPlayers = Recipients.Group("/game");
    readonly ConcurrentDictionary<string, Player> _players = [];
    readonly SemaphoreSlim _joins = new(0);
    (int X, int Y) _star = (Width / 2, Height / 2);
    int _lastNumber;

    #region game
    public void Map(IEndpointRouteBuilder app) => app.MapBroadcast("/game", LocalBroadcast.Name, options => options.MaxMessageBytes = 2)
        .UseConnect(JoinAsync).Use(SteerAsync).UseDisconnect(LeaveAsync);
    #endregion

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        #region game
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1d / 30), time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            // Only this loop publishes names, so the newest names always arrive last. Without players, the loop waits.
            if (await _joins.WaitAsync(_players.IsEmpty ? Timeout.Infinite : 0, stoppingToken))
                await broadcaster.PublishAsync(
                    _players.Values.DistinctBy(static p => p.Number).ToDictionary(static p => p.Number, static p => p.Name),
                    DemoJson.Default.DictionaryUInt16String, AllPlayers, cancellationToken: stoppingToken);
            // All states have the same key. So a player with a slow network skips to the newest state.
            await broadcaster.PublishAsync(MovePlayers(), AllPlayers, "state", stoppingToken);
        }
        #endregion
    }

    async Task JoinAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        if (!context.Result.Joined) return;
        DisplayName.Set(context);
        var player = new Player((ushort)Interlocked.Increment(ref _lastNumber), DisplayName.Get(context.Connection));
        await context.ReplyAsync($"{player.Number}");
        _players[context.Connection.Id] = player;
        _joins.Release();
    }

    /// <summary>Stores the direction of a player. Clients do not receive the inputs of other clients.</summary>
    Task SteerAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        if (context.Message.Payload is { Length: 2, Span: var input } && _players.TryGetValue(context.Connection.Id, out var player))
            (player.Right, player.Down) = ((sbyte)input[0] / 6, (sbyte)input[1] / 6);
        return Task.CompletedTask;
    }

    Task LeaveAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        _players.TryRemove(context.Connection.Id, out _);
        return next(context);
    }

    /// <summary>Returns the position of the star, and the number, position and score of each player, as uint16 values.</summary>
    byte[] MovePlayers()
    {
        var state = new List<ushort> { (ushort)_star.X, (ushort)_star.Y };
        foreach (var player in _players.Values)
        {
            (player.X, player.Y) = (Math.Clamp(player.X + player.Right, 0, Width), Math.Clamp(player.Y + player.Down, 0, Height));
            var hasStar = Math.Abs(player.X - _star.X) < Reach && Math.Abs(player.Y - _star.Y) < Reach;
            if (hasStar) (player.Score, _star) = (player.Score + 1, (Random.Shared.Next(Width), Random.Shared.Next(Height)));
            state.AddRange([player.Number, (ushort)player.X, (ushort)player.Y, (ushort)player.Score]);
        }

        return MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(state)).ToArray();
    }

    sealed record Player(ushort Number, string Name)
    {
        public int X = Random.Shared.Next(Width), Y = Random.Shared.Next(Height), Right, Down, Score;
    }
}
