using System.Text;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Fuzz;

/// <summary>What of a handshake's text is looked at by us: whatever it says, it is answered and never thrown at.</summary>
static class HeaderTarget
{
    static readonly OriginCheck OwnHostOnly = new(new BroadcastOptions());

    public static void Origin(ReadOnlySpan<byte> input)
    {
        var (host, origin) = Split(input);
        var request = new DefaultHttpContext().Request;
        request.Headers.Host = host;
        request.Headers.Origin = origin;
        if (!OwnHostOnly.Allows(request)) return;
        // Whoever is let in named the host, in one of two ways of writing it.
        var asSent = request.Host.ToUriComponent().Split(':')[0];
        if (origin.Length > 0 && !origin.Contains(request.Host.Host, StringComparison.OrdinalIgnoreCase) && !origin.Contains(asSent, StringComparison.OrdinalIgnoreCase))
            throw new InvalidOperationException($"'{origin}' passes for '{host}'.");
    }

    public static void GroupName(ReadOnlySpan<byte> input)
    {
        var name = Encoding.UTF8.GetString(input);
        var isRefused = Middleware.GroupName.Problem(name) is not null;
        if (!isRefused && (name.Length is 0 or > 255 || name.ReplaceLineEndings("").Length != name.Length))
            throw new InvalidOperationException("A name that breaks a log line is taken.");
    }

    static (string, string) Split(ReadOnlySpan<byte> input)
    {
        var line = input.IndexOf((byte)'\n');
        return line < 0 ? ("example.com", Encoding.UTF8.GetString(input)) : (Encoding.UTF8.GetString(input[..line]), Encoding.UTF8.GetString(input[(line + 1)..]));
    }
}
