using System.Text;
using Broadcast.Middleware.Messages;
using Broadcast.Middleware.Protocols;

namespace Broadcast.Fuzz;

/// <summary>Fuzzes the JSON protocol and the ID of the last event. The library accepts or rejects each text without an exception.</summary>
static class TextTarget
{
    public static void Request(ReadOnlyMemory<byte> input)
    {
        // The framework rejects invalid UTF-8 before the library receives the text.
        var text = Encoding.UTF8.GetBytes(Encoding.UTF8.GetString(input.Span));
        var request = JsonRequest.Parse(text, out var problem);
        if (problem is null && request.Kind == JsonRequestKind.Unknown) throw new InvalidOperationException("An unknown request is accepted.");
        if (problem is null && request.Kind == JsonRequestKind.Join && GroupName.Problem(request.Group) is not null)
            throw new InvalidOperationException("A join request with an invalid group name is accepted.");
    }

    public static void Position(ReadOnlyMemory<byte> input)
    {
        var text = Encoding.UTF8.GetString(input.Span);
        if (Middleware.Position.TryParse(text, out var position) && position.ToString() != text)
            throw new InvalidOperationException("Two texts parse as the same position.");
    }
}
