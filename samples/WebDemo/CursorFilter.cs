using System.Net.WebSockets;
using Broadcast.Middleware;
using static System.Buffers.Binary.BinaryPrimitives;

namespace WebDemo;

/// <summary>
/// Shows the mouse cursors of the visitors of a page. A visitor sends a position in a binary message of 4 bytes: x and y as
/// little-endian uint16 values. An empty binary message means that the cursor has left the page. Text messages
/// pass unchanged.
/// </summary>
/// <remarks>
/// The cursors have their own group, so cursors do not displace the other messages of the page. The group retains the latest
/// cursor of each visitor, so a new visitor sees all cursors at once.
/// </remarks>
sealed class CursorFilter : IBroadcastFilter
{
    // The key of a value that is true if the group possibly retains a cursor of the connection.
    static readonly object HasCursor = new();

    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        DisplayName.Set(context);
        await next(context);
        #region cursors
        if (context.Result.Joined) await context.JoinAsync(GetGroup(context.Connection));
        #endregion
    }

    public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        switch (context.Message)
        {
            case { Type: MessageType.Text }:
                return next(context);
            #region cursors
            case { Payload: { Length: 4, Span: var position } }:
                return PublishAsync(context, next, ReadUInt16LittleEndian(position), ReadUInt16LittleEndian(position[2..]));
            #endregion
            case { Payload.Length: 0 }:
                return PublishAsync(context, next, null, null);
            default:
                context.Close(
                    WebSocketCloseStatus.PolicyViolation, "Send the position of a cursor in 4 bytes, or an empty binary message.");
                return Task.CompletedTask;
        }
    }

    /// <summary>Removes the cursor of a visitor who has left.</summary>
    public async Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        await next(context);
        if (context.Connection.Items.TryGetValue(HasCursor, out var value) && value is true)
            await context.Broadcaster.PublishAsync(Create(context.Connection, null, null), GetRecipients(context.Connection));
    }

    /// <summary>Publishes the cursor to the other visitors. Without a position, the group removes the cursor.</summary>
    static async Task PublishAsync(MessageContext context, FilterDelegate<MessageContext> next, int? x, int? y)
    {
        context.Connection.Items[HasCursor] = true;
        #region cursors
        context.Message = Create(context.Connection, x, y);
        context.Recipients = GetRecipients(context.Connection);
        context.ExcludeSender();
        #endregion
        try
        {
            await next(context);
            // After a failed publish, the group may still retain the cursor.
            if (x is null) context.Connection.Items[HasCursor] = false;
        }
        catch (InvalidOperationException)
        {
            // The group already retains the maximum number of cursors. So other visitors do not see this cursor.
        }
    }

    static Message Create(IBroadcastConnection visitor, int? x, int? y)
    {
        var cursor = new Cursor("cursor", visitor.Id, DisplayName.Get(visitor), x, y);
        return Message.FromJson(cursor, DemoJson.Default.Cursor) with { Key = visitor.Id, RemoveKey = x is null };
    }

    static string GetGroup(IBroadcastConnection visitor) => $"{visitor.HomeGroup}/cursors";

    static Recipients GetRecipients(IBroadcastConnection visitor) => Recipients.Group(GetGroup(visitor));
}

/// <summary>A mouse cursor. The coordinates are 0 at the left and upper edge of the page, and 65,535 at the other edges.</summary>
/// <param name="Type">Always "cursor".</param>
/// <param name="Id">The connection ID of the visitor.</param>
/// <param name="Name">The display name of the visitor.</param>
/// <param name="X">The horizontal position. Null if the cursor has left the page.</param>
/// <param name="Y">The vertical position. Null if the cursor has left the page.</param>
sealed record Cursor(string Type, string Id, string Name, int? X, int? Y);
