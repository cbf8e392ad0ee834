using System.Net.WebSockets;
using System.Text.Json;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// The board's protocol. Strokes and "clear" go to the board, which keeps them for those who come later. Cursors go to a group of their
/// own, where nothing is kept and only the latest of each person counts. Both say whose they are, which no client can forge.
/// </summary>
sealed class BoardFilter : IBroadcastFilter
{
    const int Size = 2000;
    const int MostBytes = 4096;
    const int MostNumbers = 256;
    const string Cursors = "/board/cursors";
    const string Refusal = """Send {"type":"stroke","points":[x,y,…]}, "cursor" with x and y or neither, or "clear"; 0 to 2000.""";

    static readonly Recipients ToCursors = Recipients.Group(Cursors);

    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        if (!context.Result.Joined) return;
        var id = context.Connection.Id;
        await context.Broadcaster.JoinAsync(id, Cursors);
        // After the strokes that were kept: "this is you", so that the page knows its own when they come back to it.
        await context.ReplyAsync(Message.FromJson(new("you", id), DemoJson.Default.BoardMessage));
    }

    public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        if (Read(context.Message) is not { } message)
        {
            context.Close(WebSocketCloseStatus.PolicyViolation, Refusal);
            return Task.CompletedTask;
        }

        var sender = context.Connection;
        var isCursor = message.Type == "cursor";
        context.Message = Message.FromJson(message with { Id = sender.Id, Name = Visitor.NameOf(sender) }, DemoJson.Default.BoardMessage) with
        {
            Key = isCursor ? sender.Id : null,
        };
        if (isCursor)
        {
            context.Recipients = ToCursors;
            context.ExcludeSender();
        }

        return next(context);
    }

    static BoardMessage? Read(Message message)
    {
        if (message.Type != MessageType.Text || message.Payload.Length > MostBytes) return null;
        try
        {
            var read = JsonSerializer.Deserialize(message.Payload.Span, DemoJson.Default.BoardMessage);
            return read switch
            {
                { Type: "stroke", Points: { Length: >= 2 and <= MostNumbers } points, X: null, Y: null } when IsEven(points) && points.All(IsOnBoard) => read,
                { Type: "cursor", Points: null, X: { } x, Y: { } y } when IsOnBoard(x) && IsOnBoard(y) => read,
                { Type: "cursor", Points: null, X: null, Y: null } => read,
                { Type: "clear", Points: null, X: null, Y: null } => read,
                _ => null,
            };
        }
        catch (JsonException)
        {
            return null;
        }
    }

    static bool IsEven(int[] points) => points.Length % 2 == 0;

    static bool IsOnBoard(int coordinate) => coordinate is >= 0 and <= Size;
}
