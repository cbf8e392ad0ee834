using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>A protocol and its wire format, which all of its clients share.</summary>
sealed class KnownProtocol(IBroadcastProtocol protocol)
{
    public IBroadcastProtocol Protocol => protocol;

    public ProtocolFormat Format { get; } = new(protocol);

    /// <summary>The first of the client's protocols that is known; null for none, and then it speaks raw.</summary>
    public static KnownProtocol? Choose(IReadOnlyList<KnownProtocol> known, HttpRequest request)
    {
        if (known.Count == 0 || request.Headers.SecWebSocketProtocol.Count == 0) return null;
        foreach (var requested in request.Headers.GetCommaSeparatedValues("Sec-WebSocket-Protocol"))
        {
            // Those added later take precedence.
            for (var i = known.Count - 1; i >= 0; i--)
            {
                if (known[i].Protocol.Subprotocol == requested) return known[i];
            }
        }

        return null;
    }
}
