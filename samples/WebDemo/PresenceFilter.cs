using System.Collections.Concurrent;
using System.Text.Json;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary><c>/rooms/blue/presence</c> says who is in <c>/rooms/blue</c>: first everyone, then who comes, changes or leaves.</summary>
/// <remarks>
/// Each connection follows the group by itself: the watch begins with everyone and is in order, and so is what one connection is sent.
/// So every list ends up right, whatever came in between; and over server-sent events it works as well.
/// </remarks>
sealed class PresenceFilter(IPresence presence) : IBroadcastFilter
{
    /// <summary>The name of the broadcast, and the last part of the URLs.</summary>
    public const string Broadcast = "presence";

    readonly ConcurrentDictionary<string, CancellationTokenSource> _watches = new();

    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        if (!context.Result.Joined) return;
        var connection = context.Connection;
        var watch = _watches[connection.Id] = new CancellationTokenSource();
        _ = WatchAsync(context.Broadcaster, connection.Id, connection.HomeGroup[..^(Broadcast.Length + 1)], watch.Token);
    }

    /// <summary>It is for listening: what is said here, nobody hears.</summary>
    public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next) => Task.CompletedTask;

    public Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        if (_watches.TryRemove(context.Connection.Id, out var watch)) watch.Cancel();
        return next(context);
    }

    async Task WatchAsync(IBroadcaster broadcaster, string connectionId, string group, CancellationToken cancellationToken)
    {
        try
        {
            await foreach (var (kind, member) in presence.WatchAsync(group, cancellationToken))
            {
                var name = kind == PresenceChangeKind.Left ? null : NameOf(member);
                await broadcaster.PublishAsync(
                    new Presence(member.ConnectionId, name), DemoJson.Default.Presence, Recipients.Connection(connectionId), cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // The one it was for has left.
        }
    }

    static string NameOf(PresenceMember member) =>
        member.State.IsEmpty ? Visitor.GuestName(member.ConnectionId) : JsonSerializer.Deserialize(member.State.Span, DemoJson.Default.String)!;
}
