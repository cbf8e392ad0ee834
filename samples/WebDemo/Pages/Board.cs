using System.Net.WebSockets;
using System.Text.Json;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// A shared drawing. The server validates each message, and adds the ID and name of the sender. So clients of this URL cannot
/// send messages under another name. The group keeps strokes and "clear" messages for clients that join later.
/// </summary>
/// <remarks>
/// <c>POST /publish</c> without a group also reaches the connections of the board, without this validation. So any client can
/// show a stroke under any name. The group does not keep such a stroke, and the page ignores a malformed message.
/// </remarks>
static class Board
{
    const int Size = 2000, MaxCoordinates = 256;
    const string InvalidMessage =
        "The message is invalid. Send a stroke with points, or clear. Coordinates are 0 to 2000.";

    public static void Map(IEndpointRouteBuilder app)
    {
        #region board
        app.MapBroadcast("/board", static options => options.MaxMessageBytes = 4096).Use<DisplayNameFilter>()
            .UseConnect(ReplyIdAsync).Use(PublishAsync).Use<CursorFilter>();
        app.MapBroadcastPresence("/board/presence", "/board", Person.From, DemoJson.Default.Person);
        #endregion
    }

    static Task PublishAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        // A binary message is a cursor.
        if (context.Message.Type == MessageType.Binary) return next(context);
        var message = Parse(context.Message);
        switch (message)
        {
            #region board
            case { Type: "stroke", Points: { Length: >= 2 and <= MaxCoordinates } points }
                when points.Length % 2 == 0 && points.All(IsOnBoard):
            case { Type: "clear", Points: null }:
                var sender = context.Connection;
                var signed = new BoardMessage(message.Type, sender.Id, DisplayName.Get(sender), message.Points);
                context.Message = Message.FromJson(signed, DemoJson.Default.BoardMessage);
                return next(context);
            #endregion
            default:
                context.Close(WebSocketCloseStatus.PolicyViolation, InvalidMessage);
                return Task.CompletedTask;
        }
    }

    static bool IsOnBoard(int coordinate) => coordinate is >= 0 and <= Size;

    static BoardMessage? Parse(Message message)
    {
        try
        {
            return JsonSerializer.Deserialize(message.Payload.Span, DemoJson.Default.BoardMessage);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>Sends the connection ID to the client, after the replayed strokes and cursors.</summary>
    static async Task ReplyIdAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        var you = new BoardMessage("you", context.Connection.Id);
        if (context.Result.Joined) await context.ReplyAsync(Message.FromJson(you, DemoJson.Default.BoardMessage));
    }
}

/// <summary>A message of the drawing board.</summary>
/// <param name="Type">"stroke" or "clear". The server also sends "you".</param>
/// <param name="Id">The connection ID of the sender. The server sets this value.</param>
/// <param name="Name">The display name of the sender. The server sets this value.</param>
/// <param name="Points">The points of a stroke: x1, y1, x2, y2 and so on.</param>
sealed record BoardMessage(string Type, string? Id = null, string? Name = null, int[]? Points = null);
