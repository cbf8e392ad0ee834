using System.Buffers.Binary;
using System.Net.WebSockets;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>The mouse cursors of the visitors of the start page. Their connections also receive the figures of the page.</summary>
static class LiveCursors
{
    static readonly CursorGroup Cursors = new("/live/cursors");

    #region cursors
    public static void Map(IEndpointRouteBuilder app) => app.MapBroadcast("/live", LocalBroadcast.Name)
        .UseConnect(Cursors.JoinAsync).Use(MoveAsync).UseDisconnect(Cursors.LeaveAsync);
    #endregion

    // A visitor sends the position of the cursor: two uint16 values. An empty message means that the cursor has left.
    static Task MoveAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        switch (context.Message)
        {
            #region cursors
            case { Type: MessageType.Binary, Payload: { Length: 4, Span: var position } }:
                var (x, y) = (BinaryPrimitives.ReadUInt16LittleEndian(position), BinaryPrimitives.ReadUInt16LittleEndian(position[2..]));
                return Cursors.MoveAsync(context, next, x, y);
            #endregion
            case { Type: MessageType.Binary, Payload.Length: 0 }:
                return Cursors.MoveAsync(context, next, null, null);
            default:
                context.Close(
                    WebSocketCloseStatus.PolicyViolation, "Send the position of a cursor in 4 bytes, or an empty binary message.");
                return Task.CompletedTask;
        }
    }
}
