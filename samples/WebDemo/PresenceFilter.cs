using System.Text.Json;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Publishes the members of a URL, such as <c>/rooms/blue</c>, to the clients of <c>/rooms/blue/presence</c>. Each
/// client receives all members first, and then each change.
/// </summary>
/// <remarks>
/// Each connection has a separate watch. A watch reports all members first, and then each change in order. The messages
/// to one connection keep their order. So each client has the correct list, also with server-sent events.
/// </remarks>
sealed class PresenceFilter(IPresence presence) : IBroadcastFilter
{
    /// <summary>The name of the presence broadcast, and the last segment of the presence URLs.</summary>
    public const string Broadcast = "presence";

    // The server creates a filter for each event, so the connection keeps its watch.
    static readonly object WatchKey = new();

    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        if (!context.Result.Joined) return;
        var connection = context.Connection;
        var watch = new CancellationTokenSource();
        connection.Items[WatchKey] = watch;
        var watchedGroup = connection.HomeGroup[..^(Broadcast.Length + 1)];
        _ = WatchAsync(context.Broadcaster, connection.Id, watchedGroup, watch.Token);
    }

    /// <summary>Drops every message from a client, because presence URLs are read-only.</summary>
    public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next) => Task.CompletedTask;

    public Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        if (context.Connection.Items.TryGetValue(WatchKey, out var watch)) ((CancellationTokenSource)watch!).Cancel();
        return next(context);
    }

    async Task WatchAsync(IBroadcaster broadcaster, string connectionId, string group, CancellationToken cancellationToken)
    {
        try
        {
            await foreach (var change in presence.WatchAsync(group, cancellationToken))
            {
                var member = change.Member;
                var name = change.Kind == PresenceChangeKind.Left ? null : GetName(member);
                await broadcaster.PublishAsync(
                    new PresenceChange(member.ConnectionId, name),
                    DemoJson.Default.PresenceChange,
                    Recipients.Connection(connectionId),
                    cancellationToken: cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Ignore the exception, because the watching client has disconnected.
        }
    }

    static string GetName(PresenceMember member) => member.State.IsEmpty
        ? DisplayName.CreateGuestName(member.ConnectionId)
        : JsonSerializer.Deserialize(member.State.Span, DemoJson.Default.String)!;
}
