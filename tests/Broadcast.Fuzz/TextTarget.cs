using System.Text;
using Broadcast.Middleware;

namespace Broadcast.Fuzz;

/// <summary>What clients say in the JSON protocol, and in the id of the last event they had: it is understood or refused, and never thrown at.</summary>
static class TextTarget
{
    public static void Request(ReadOnlyMemory<byte> input)
    {
        // The framework has refused what is not UTF-8.
        var text = Encoding.UTF8.GetBytes(Encoding.UTF8.GetString(input.Span));
        var request = JsonRequest.Parse(text, out var problem);
        if (problem is null && request.Kind == JsonRequestKind.Unknown) throw new InvalidOperationException("What is no request is taken for one.");
        if (problem is null && request.Kind == JsonRequestKind.Join && GroupName.Problem(request.Group) is not null)
            throw new InvalidOperationException("A name that is none is taken.");
    }

    public static void Position(ReadOnlyMemory<byte> input)
    {
        var text = Encoding.UTF8.GetString(input.Span);
        if (Middleware.Position.TryParse(text, out var position) && position.ToString() != text)
            throw new InvalidOperationException("A position can be written in two ways.");
    }
}
