using System.Text.Json;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>A message of the drawing board, in both directions.</summary>
/// <param name="Type">"stroke", "cursor" or "clear". The server also sends "you".</param>
/// <param name="Id">The connection ID of the sender. The server sets this value.</param>
/// <param name="Name">The display name of the sender. The server sets this value.</param>
/// <param name="Points">The points of a stroke: x1, y1, x2, y2 and so on.</param>
/// <param name="X">The x-coordinate of a cursor. Null if the cursor has left the board.</param>
/// <param name="Y">The y-coordinate of a cursor. Null if the cursor has left the board.</param>
sealed record BoardMessage(string Type, string? Id = null, string? Name = null, int[]? Points = null, int? X = null, int? Y = null)
{
    const int Size = 2000;
    const int MaxBytes = 4096;
    const int MaxCoordinates = 256;

    /// <summary>Returns the message of a client. Returns null if the message is invalid.</summary>
    public static BoardMessage? Parse(Message message)
    {
        if (message.Type != MessageType.Text || message.Payload.Length > MaxBytes) return null;
        try
        {
            var parsed = JsonSerializer.Deserialize(message.Payload.Span, DemoJson.Default.BoardMessage);
            return parsed switch
            {
                { Type: "stroke", Points: { Length: >= 2 and <= MaxCoordinates } points, X: null, Y: null }
                    when points.Length % 2 == 0 && points.All(IsOnBoard) => parsed,
                { Type: "cursor", Points: null, X: { } x, Y: { } y } when IsOnBoard(x) && IsOnBoard(y) => parsed,
                { Type: "cursor", Points: null, X: null, Y: null } => parsed,
                { Type: "clear", Points: null, X: null, Y: null } => parsed,
                _ => null,
            };
        }
        catch (JsonException)
        {
            return null;
        }
    }

    static bool IsOnBoard(int coordinate) => coordinate is >= 0 and <= Size;
}
