using System.Globalization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http.Connections;
using Microsoft.AspNetCore.SignalR;
using Microsoft.Extensions.DependencyInjection;
using StackExchange.Redis;

namespace Broadcast.Redis.Benchmarks;

/// <summary>SignalR, with its Redis backplane and its JSON protocol: sent to a group on one host, received by a WebSocket client of another one.</summary>
sealed class SignalRWay : Way
{
    const string BeforePayload = """{"type":1,"target":"m","arguments":[" """;
    const string Greeting = """{"protocol":"json","version":1}""" + "\u001e";

    const byte Separator = 0x1e;

    readonly List<WebApplication> _hosts = [];
    readonly Client[] _clients;
    IHubContext<ListeningHub> _publisher = null!;

    SignalRWay(string name, int groups) : base(name, groups) =>
        _clients = [.. Enumerable.Range(0, groups).Select(i => new Client((stamp, _) => Receive(i, stamp), BeforePayload.Length - 1, Separator))];

    /// <param name="redis">Null for one host without a backplane.</param>
    /// <param name="groups">How many.</param>
    public static async Task<Way> CreateAsync(string? redis, int groups)
    {
        var way = new SignalRWay(redis is null ? "SignalR: one host, no backplane, to client" : "SignalR: Clients.Group.SendAsync to client of other host", groups);
        way._hosts.Add(await StartAsync(redis));
        if (redis is not null) way._hosts.Add(await StartAsync(redis));
        way._publisher = way._hosts[0].Services.GetRequiredService<IHubContext<ListeningHub>>();
        for (var i = 0; i < groups; i++) await way._clients[i].ConnectAsync(Hosts.UriOf(way._hosts[^1], $"/hub?group={i}"), Greeting);
        await way.ProbeAsync();
        return way;
    }

    public override async ValueTask PublishAsync(int group, long stamp) =>
        await _publisher.Clients.Group(group.ToString(CultureInfo.InvariantCulture)).SendAsync("m", Payload.Text(stamp, 0));

    public override async ValueTask DisposeAsync()
    {
        foreach (var client in _clients) await client.DisposeAsync();
        foreach (var host in _hosts) await host.DisposeAsync();
    }

    static Task<WebApplication> StartAsync(string? redis) => Hosts.StartAsync(
        builder =>
        {
            // The clients only listen, for as long as it takes.
            var signalR = builder.Services.AddSignalR(static options => options.ClientTimeoutInterval = TimeSpan.FromHours(1));
            if (redis is not null) signalR.AddStackExchangeRedis(redis, static options => options.Configuration.ChannelPrefix = RedisChannel.Literal("signalr"));
        },
        static app => app.MapHub<ListeningHub>("/hub", static options => options.Transports = HttpTransportType.WebSockets));

    sealed class ListeningHub : Hub
    {
        public override Task OnConnectedAsync() => Groups.AddToGroupAsync(Context.ConnectionId, Context.GetHttpContext()!.Request.Query["group"]!);
    }
}
