using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Messages;
using Broadcast.Middleware.Presence;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Protocols;

/// <summary>The last filter of a presence endpoint. The filter sends each client the members of a group.</summary>
/// <param name="feeds">The feeds of the endpoint.</param>
/// <param name="findGroup">Returns the name of the group that a request watches. The name may be invalid.</param>
/// <param name="maxGroups">See <see cref="BroadcastOptions.MaxGroupsPerConnection"/>.</param>
/// <param name="maxBatchBytes">See <see cref="FeedSender.GetMaxBatchBytes"/>.</param>
sealed class PresenceFilter(
    PresenceFeeds feeds, Func<HttpContext, string> findGroup, int maxGroups, int maxBatchBytes)
    : IBroadcastFilter
{
    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        var group = findGroup(context.HttpContext);
        if (GroupName.Problem(group) is { } problem)
        {
            context.Close(WebSocketCloseStatus.PolicyViolation, problem);
            return;
        }

        await next(context);
        if (!context.Result.Joined) return;
        var connection = context.OwnConnection;
        var sender = new FeedSender(feeds, connection, text => Send(connection, text), maxGroups, maxBatchBytes);
        connection.ProtocolState = new PresenceState(sender);
        sender.Subscribe(group);
        // A connection that ended before this method set the state has not called OnEnded of the state.
        if (connection.HasLeft) sender.End();
    }

    public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        context.Close(WebSocketCloseStatus.PolicyViolation, CloseReasons.ReadOnlyUrl);
        return Task.CompletedTask;
    }

    static void Send(Connection connection, ReadOnlyMemory<byte> json)
    {
        var members = new Message(json, MessageType.Text) { IsJson = true };
        var text = connection.Format is ProtocolDescriptor format ? format.Encode(members) : json;
        // After a reconnect, the client receives a new snapshot. So the server must not keep this message for the
        // client.
        connection.SendVerbatim(text);
    }

    /// <summary>Forwards the notifications of the connection to the sender.</summary>
    sealed class PresenceState(FeedSender sender) : IProtocolState
    {
        public void OnPrivateLogRead() => sender.OnReceived();

        public void OnReconnected() => sender.Restart();

        public void OnEnded() => sender.End();
    }
}
