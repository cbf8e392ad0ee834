using System.Buffers.Binary;
using System.Net.WebSockets;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Publishes the cursors of the visitors of the start page. A group retains the latest cursor of each visitor, so a new
/// visitor sees all cursors at once. The figures have another group, so cursors cannot use the space of the figures.
/// </summary>
sealed class LiveCursorFilter : IBroadcastFilter
{
    const string CursorGroup = "/live/cursors";
    static readonly Recipients CursorRecipients = Recipients.Group(CursorGroup);

    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        DisplayName.Set(context);
        await next(context);
        if (context.Result.Joined) await context.JoinAsync(CursorGroup);
    }

    /// <summary>
    /// Publishes the position of a cursor: two uint16 values. An empty message means that the cursor has left.
    /// </summary>
    public async Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        if (context.Message is not { Type: MessageType.Binary, Payload: { Length: 0 or 4 } payload })
        {
            context.Close(WebSocketCloseStatus.PolicyViolation, "Send the position of a cursor in 4 bytes, or an empty binary message.");
            return;
        }

        context.Message = Create(context.Connection, Read(0), Read(2));
        context.Recipients = CursorRecipients;
        context.ExcludeSender();
        try
        {
            await next(context);
        }
        catch (InvalidOperationException)
        {
            // The group already retains the maximum number of cursors. So other visitors do not see this cursor.
        }

        int? Read(int offset) => payload.IsEmpty ? null : BinaryPrimitives.ReadUInt16LittleEndian(payload.Span[offset..]);
    }

    public async Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        await next(context);
        await context.Broadcaster.PublishAsync(Create(context.Connection, null, null), CursorRecipients);
    }

    static Message Create(IBroadcastConnection visitor, int? x, int? y)
    {
        var cursor = new LiveCursor(visitor.Id, DisplayName.Get(visitor), x, y);
        return Message.FromJson(cursor, DemoJson.Default.LiveCursor) with { Key = visitor.Id, RemoveKey = x is null };
    }
}
