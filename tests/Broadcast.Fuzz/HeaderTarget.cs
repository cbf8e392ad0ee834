using System.Text;
using Broadcast.Middleware.Http;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Fuzz;

/// <summary>Fuzzes the handshake texts that the library parses. No text may cause an exception.</summary>
static class HeaderTarget
{
    static readonly OriginCheck OwnHostOnly = new([], isAllowed: null, allowsLoopback: false);

    public static void Origin(ReadOnlySpan<byte> input)
    {
        var (host, origin) = Split(input);
        var request = new DefaultHttpContext().Request;
        request.Headers.Host = host;
        request.Headers.Origin = origin;
        if (!OwnHostOnly.Allows(request)) return;
        // An allowed origin contains the host, either decoded or in the form that the client sent.
        var asSent = request.Host.ToUriComponent().Split(':')[0];
        if (origin.Length > 0 && !origin.Contains(request.Host.Host, StringComparison.OrdinalIgnoreCase) && !origin.Contains(asSent, StringComparison.OrdinalIgnoreCase))
            throw new InvalidOperationException($"The origin '{origin}' is allowed for the host '{host}'.");
    }

    public static void GroupName(ReadOnlySpan<byte> input)
    {
        var name = Encoding.UTF8.GetString(input);
        var isRejected = Middleware.Messages.GroupName.Problem(name) is not null;
        if (!isRejected && (name.Length is 0 or > 255 || name.ReplaceLineEndings("").Length != name.Length))
            throw new InvalidOperationException("A group name with a line break or a wrong length is allowed.");
    }

    static (string, string) Split(ReadOnlySpan<byte> input)
    {
        var line = input.IndexOf((byte)'\n');
        return line < 0 ? ("example.com", Encoding.UTF8.GetString(input)) : (Encoding.UTF8.GetString(input[..line]), Encoding.UTF8.GetString(input[(line + 1)..]));
    }
}
