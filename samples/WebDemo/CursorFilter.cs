using System.Buffers.Binary;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Shows the mouse cursors of the visitors of a page. A visitor sends a position in a binary message of 4 bytes: two uint16
/// values. An empty binary message means that the cursor has left the page. The next filters receive all other messages.
/// </summary>
/// <remarks>
/// The cursors have their own group, so they cannot use the space of the other messages. The group retains the latest cursor
/// of each visitor, so a new visitor sees all cursors at once.
/// </remarks>
sealed class CursorFilter : IBroadcastFilter
{
    // The connection remembers whether the group may retain its cursor.
    static readonly object HasCursor = new();

    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        DisplayName.Set(context);
        await next(context);
        #region cursors
        if (context.Result.Joined) await context.JoinAsync(GetGroup(context.Connection));
        #endregion
    }

    public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next) => context.Message switch
    {
        { Type: MessageType.Binary, Payload: { Length: 4, Span: var position } } =>
            PublishAsync(context.Broadcaster, context.Connection, Read(position), Read(position[2..])),
        { Type: MessageType.Binary, Payload.Length: 0 } => PublishAsync(context.Broadcaster, context.Connection, null, null),
        _ => next(context),
    };

    /// <summary>Removes the cursor of a visitor who has left.</summary>
    public async Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        await next(context);
        if (context.Connection.Items.TryGetValue(HasCursor, out var value) && value is true)
            await PublishAsync(context.Broadcaster, context.Connection, null, null);
    }

    /// <summary>Publishes the cursor to the other visitors. Without a position, the group removes the cursor.</summary>
    static async Task PublishAsync(IBroadcaster broadcaster, IBroadcastConnection visitor, int? x, int? y)
    {
        visitor.Items[HasCursor] = true;
        try
        {
            #region cursors
            var cursor = new Cursor("cursor", visitor.Id, DisplayName.Get(visitor), x, y);
            var message = Message.FromJson(cursor, DemoJson.Default.Cursor) with { Key = visitor.Id, RemoveKey = x is null };
            await broadcaster.PublishAsync(message, Recipients.Group(GetGroup(visitor)).Except(visitor.Id));
            #endregion
            // After a failed publish, the group may still retain the cursor.
            if (x is null) visitor.Items[HasCursor] = false;
        }
        catch (InvalidOperationException)
        {
            // The group already retains the maximum number of cursors. So other visitors do not see this cursor.
        }
    }

    static string GetGroup(IBroadcastConnection visitor) => $"{visitor.HomeGroup}/cursors";

    static int Read(ReadOnlySpan<byte> coordinate) => BinaryPrimitives.ReadUInt16LittleEndian(coordinate);
}

/// <summary>A mouse cursor. The coordinates are 0 at the left and upper edge of the page, and 65,535 at the other edges.</summary>
/// <param name="Type">Always "cursor".</param>
/// <param name="Id">The connection ID of the visitor.</param>
/// <param name="Name">The display name of the visitor.</param>
/// <param name="X">The horizontal position. Null if the cursor has left the page.</param>
/// <param name="Y">The vertical position. Null if the cursor has left the page.</param>
sealed record Cursor(string Type, string Id, string Name, int? X, int? Y);
