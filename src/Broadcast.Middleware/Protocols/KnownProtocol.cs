using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>A protocol and its wire format, which all of its clients share.</summary>
sealed class KnownProtocol
{
    public KnownProtocol(IBroadcastProtocol protocol)
    {
        Protocol = protocol;
        if (protocol is not RawProtocol) Format = new(protocol, IsReliable ? new(protocol, null) : null);
    }

    /// <summary>Of clients that name no protocol, or none that is known.</summary>
    public static KnownProtocol Raw { get; } = new(new RawProtocol());

    public IBroadcastProtocol Protocol { get; }

    /// <summary>Null for frames as they stand in the log.</summary>
    public ProtocolFormat? Format { get; }

    /// <summary>Whether clients acknowledge what they have, and can come back for the rest.</summary>
    public bool IsReliable => Protocol is ReliableJsonProtocol;

    /// <summary>The first of the client's protocols that is known.</summary>
    public static KnownProtocol Choose(IReadOnlyList<KnownProtocol> known, HttpRequest request)
    {
        if (known.Count == 0 || request.Headers.SecWebSocketProtocol.Count == 0) return Raw;
        foreach (var requested in request.Headers.GetCommaSeparatedValues("Sec-WebSocket-Protocol"))
        {
            // Those added later take precedence.
            for (var i = known.Count - 1; i >= 0; i--)
            {
                if (known[i].Protocol.Subprotocol == requested) return known[i];
            }
        }

        return Raw;
    }
}
