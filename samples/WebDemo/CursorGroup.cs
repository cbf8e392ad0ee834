using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// The group of the mouse cursors of a page. The group retains the latest cursor of each visitor, so a new visitor sees all
/// cursors at once. The other messages of the page have another group, so cursors cannot use the space of these messages.
/// </summary>
sealed class CursorGroup(string group)
{
    readonly Recipients _members = Recipients.Group(group);

    /// <summary>A connect filter: a new visitor receives all cursors.</summary>
    public async Task JoinAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        DisplayName.Set(context);
        await next(context);
        if (context.Result.Joined) await context.JoinAsync(group);
    }

    /// <summary>Publishes the cursor of the sender to the other visitors. Without a position, the cursor leaves the page.</summary>
    public async Task MoveAsync(MessageContext context, FilterDelegate<MessageContext> next, int? x, int? y)
    {
        // The connection remembers whether the group may retain its cursor. This object is the key of the value.
        context.Connection.Items[this] = true;
        context.Message = Create(context.Connection, x, y);
        context.Recipients = _members;
        context.ExcludeSender();
        try
        {
            await next(context);
            // After a failed publish, the group may still retain the cursor.
            if (x is null) context.Connection.Items[this] = false;
        }
        catch (InvalidOperationException)
        {
            // The group already retains the maximum number of cursors. So other visitors do not see this cursor.
        }
    }

    /// <summary>A disconnect filter: the group removes the cursor of the visitor.</summary>
    public async Task LeaveAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        await next(context);
        if (!context.Connection.Items.TryGetValue(this, out var hasCursor) || hasCursor is not true) return;
        await context.Broadcaster.PublishAsync(Create(context.Connection, null, null), _members);
    }

    static Message Create(IBroadcastConnection visitor, int? x, int? y)
    {
        var cursor = new Cursor("cursor", visitor.Id, DisplayName.Get(visitor), x, y);
        return Message.FromJson(cursor, DemoJson.Default.Cursor) with { Key = visitor.Id, RemoveKey = x is null };
    }
}

/// <summary>A mouse cursor. The page defines the unit of the coordinates.</summary>
/// <param name="Type">Always "cursor".</param>
/// <param name="Id">The connection ID of the visitor.</param>
/// <param name="Name">The display name of the visitor.</param>
/// <param name="X">The horizontal position. Null if the cursor has left the page.</param>
/// <param name="Y">The vertical position. Null if the cursor has left the page.</param>
sealed record Cursor(string Type, string Id, string Name, int? X, int? Y);
