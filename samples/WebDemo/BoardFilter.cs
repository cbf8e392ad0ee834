using System.Net.WebSockets;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Validates the messages of the drawing board and adds the sender's ID and name. So clients cannot send messages under
/// another name.
/// </summary>
/// <remarks>
/// The group of the board keeps strokes and "clear" messages for clients that join later. Cursors go to another group
/// without a history. That group retains the latest cursor of each connection, until the cursor leaves the board or the
/// connection ends.
/// </remarks>
sealed class BoardFilter : IBroadcastFilter
{
    const string CursorGroup = "/board/cursors";
    const string InvalidMessage =
        "The message is invalid. Send a stroke with points, a cursor with or without x and y, or clear. Coordinates are 0 to 2000.";

    static readonly Recipients CursorRecipients = Recipients.Group(CursorGroup);

    // The server creates a filter for each event, so the connection remembers whether its cursor is on the board.
    static readonly object HasCursor = new();

    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        if (!context.Result.Joined) return;
        var id = context.Connection.Id;
        await context.Broadcaster.JoinAsync(id, CursorGroup);
        // The client receives this reply after the replayed strokes. The reply contains the connection ID of the
        // client.
        await context.ReplyAsync(Message.FromJson(new("you", id), DemoJson.Default.BoardMessage));
    }

    public async Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        if (BoardMessage.Parse(context.Message) is not { } message)
        {
            context.Close(WebSocketCloseStatus.PolicyViolation, InvalidMessage);
            return;
        }

        #region board
        var sender = context.Connection;
        var isCursor = message.Type == "cursor";
        var signed = message with { Id = sender.Id, Name = DisplayName.Get(sender) };
        context.Message = Message.FromJson(signed, DemoJson.Default.BoardMessage);
        if (isCursor)
        {
            sender.Items[HasCursor] = message.X is not null;
            context.Message = context.Message with { Key = sender.Id, RemoveKey = message.X is null };
            context.Recipients = CursorRecipients;
            context.ExcludeSender();
        }

        try
        {
            await next(context);
        }
        catch (InvalidOperationException) when (isCursor)
        {
            // The group already retains the maximum number of cursors. So other visitors do not see this cursor.
        }
        #endregion
    }

    public async Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        await next(context);
        if (!context.Connection.Items.TryGetValue(HasCursor, out var hasCursor) || hasCursor is not true) return;
        var id = context.Connection.Id;
        var gone = Message.FromJson(new("cursor", id), DemoJson.Default.BoardMessage) with { Key = id, RemoveKey = true };
        await context.Broadcaster.PublishAsync(gone, CursorRecipients);
    }
}
