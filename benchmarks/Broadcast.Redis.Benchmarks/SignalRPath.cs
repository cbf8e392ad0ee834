using System.Globalization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http.Connections;
using Microsoft.AspNetCore.SignalR;
using Microsoft.Extensions.DependencyInjection;
using StackExchange.Redis;

namespace Broadcast.Redis.Benchmarks;

/// <summary>
/// Sends messages through SignalR with its Redis backplane and JSON protocol. One host sends, and each group has one
/// WebSocket client on another host.
/// </summary>
sealed class SignalRPath : MessagePath
{
    const string BeforePayload = """{"type":1,"target":"m","arguments":[" """;
    const string Greeting = """{"protocol":"json","version":1}""" + "\u001e";

    const byte Separator = 0x1e;

    readonly List<WebApplication> _hosts = [];
    readonly Client[] _clients;
    IHubContext<ListeningHub> _publisher = null!;

    SignalRPath(string name, int groups) : base(name, groups) =>
        _clients = [.. Enumerable.Range(0, groups).Select(i => new Client((stamp, _) => Receive(i, stamp), BeforePayload.Length - 1, Separator))];

    /// <param name="redis">The Redis configuration. Null for one host without a backplane.</param>
    /// <param name="groups">The number of groups.</param>
    public static async Task<MessagePath> CreateAsync(string? redis, int groups)
    {
        var path = new SignalRPath(redis is null ? "SignalR: one host, no backplane, to client" : "SignalR: Clients.Group.SendAsync to client of other host", groups);
        path._hosts.Add(await StartAsync(redis));
        if (redis is not null) path._hosts.Add(await StartAsync(redis));
        path._publisher = path._hosts[0].Services.GetRequiredService<IHubContext<ListeningHub>>();
        for (var i = 0; i < groups; i++) await path._clients[i].ConnectAsync(Hosts.UriOf(path._hosts[^1], $"/hub?group={i}"), Greeting);
        await path.ProbeAsync();
        return path;
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
            // The clients send no pings, so the server must not time out.
            var signalR = builder.Services.AddSignalR(static options => options.ClientTimeoutInterval = TimeSpan.FromHours(1));
            if (redis is not null) signalR.AddStackExchangeRedis(redis, static options => options.Configuration.ChannelPrefix = RedisChannel.Literal("signalr"));
        },
        static app => app.MapHub<ListeningHub>("/hub", static options => options.Transports = HttpTransportType.WebSockets));

    sealed class ListeningHub : Hub
    {
        public override Task OnConnectedAsync() => Groups.AddToGroupAsync(Context.ConnectionId, Context.GetHttpContext()!.Request.Query["group"]!);
    }
}
