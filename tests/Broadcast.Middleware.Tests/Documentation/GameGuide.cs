using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/guides/games.md.</summary>
static class GameGuide
{
    public static void Add(WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton<World>().AddHostedService<GameLoop>();
        builder.Services.AddBroadcast(options => options.Groups["/game"] = new() { SlowConsumer = SlowConsumer.SkipToLatest });
    }

    public static void Map(WebApplication app)
    {
        app.MapBroadcast("/game", options =>
            {
                options.MaxMessageBytes = 2;
                options.MaxMessagesPerSecond = 60;
            })
            .Use<GameFilter>();
    }
}

sealed class GameFilter(World world) : IBroadcastFilter
{
    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        if (!world.TryAdd(context.Connection.Id))
        {
            context.Close((WebSocketCloseStatus)4000, "The game is full.");
            return;
        }

        try
        {
            await next(context);
        }
        finally
        {
            // Without a join, no disconnect filter runs.
            if (!context.Result.Joined) world.Remove(context.Connection.Id);
        }
    }

    public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        if (context.Message is { Type: MessageType.Binary, Payload.Length: 2 } input)
            world.Steer(context.Connection.Id, (sbyte)input.Payload.Span[0], (sbyte)input.Payload.Span[1]);
        return Task.CompletedTask;   // only the game loop publishes
    }

    public Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        world.Remove(context.Connection.Id);
        return next(context);
    }
}

sealed class GameLoop(World world, IBroadcaster broadcaster, TimeProvider time) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(33), time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            var frame = new Message(world.Step(), MessageType.Binary) { IsTransient = true };
            await broadcaster.PublishAsync(frame, Recipients.Group("/game"), stoppingToken);
        }
    }
}

sealed class World
{
    const int MaxPlayers = 64, Size = 1000;
    readonly ConcurrentDictionary<string, Player> _players = new();
    int _lastNumber;

    public bool TryAdd(string id) =>
        _players.Count < MaxPlayers && _players.TryAdd(id, new Player { Number = (ushort)Interlocked.Increment(ref _lastNumber) });

    public void Remove(string id) => _players.TryRemove(id, out _);

    public void Steer(string id, sbyte x, sbyte y)
    {
        if (_players.TryGetValue(id, out var player)) player.Speed = (x, y);
    }

    /// <summary>Moves all players, and returns 6 bytes for each: number, x, y.</summary>
    public byte[] Step()
    {
        var players = _players.Values.ToArray();
        var frame = new byte[players.Length * 6];
        for (var i = 0; i < players.Length; i++)
        {
            var player = players[i];
            var place = frame.AsSpan(i * 6);
            player.X = Math.Clamp(player.X + player.Speed.X, 0, Size);
            player.Y = Math.Clamp(player.Y + player.Speed.Y, 0, Size);
            BinaryPrimitives.WriteUInt16LittleEndian(place, player.Number);
            BinaryPrimitives.WriteUInt16LittleEndian(place[2..], (ushort)player.X);
            BinaryPrimitives.WriteUInt16LittleEndian(place[4..], (ushort)player.Y);
        }

        return frame;
    }

    sealed class Player
    {
        public ushort Number { get; init; }

        public (int X, int Y) Speed { get; set; }

        public int X { get; set; }

        public int Y { get; set; }
    }
}
