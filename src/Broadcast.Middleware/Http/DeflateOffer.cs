using System.Globalization;
using Broadcast.Middleware.Compression;
using Broadcast.Middleware.Delivery;
using Microsoft.Extensions.Primitives;

namespace Broadcast.Middleware.Http;

/// <summary>
/// An offer of the extension <c>permessage-deflate</c> that the server accepts (RFC 7692, section 7.1).
/// </summary>
/// <param name="WindowBits">The maximum window size, as the base-2 logarithm of the number of bytes.</param>
/// <param name="LimitsWindow">
/// True if the client requests this maximum. False if the client accepts every window.
/// </param>
readonly record struct DeflateOffer(int WindowBits, bool LimitsWindow)
{
    const string Name = "permessage-deflate";
    const int MinBits = CompressionSettings.MinWindowBits, MaxBits = MessageDeflater.MaxWindowBits;

    /// <summary>Returns the value of <c>Sec-WebSocket-Extensions</c> in the response.</summary>
    /// <param name="windowBits">
    /// The window that the server uses. This window may be smaller than the requested window (RFC 7692, section
    /// 7.1.2.1).
    /// </param>
    public string CreateResponse(int windowBits)
    {
        const string NoContextTakeover = $"{Name}; server_no_context_takeover; client_no_context_takeover";
        return LimitsWindow
            ? string.Create(CultureInfo.InvariantCulture, $"{NoContextTakeover}; server_max_window_bits={windowBits}")
            : NoContextTakeover;
    }

    /// <summary>
    /// Returns the first offer that the server accepts. Returns null if the server accepts no offer. The WebSocket then
    /// has no compression.
    /// </summary>
    /// <remarks>
    /// The server skips an offer with an unknown, repeated or invalid parameter (RFC 7692, section 7.1). After a syntax
    /// error, the server ignores the rest of the header value. The server always asks the client to compress each
    /// message independently. So the server needs no memory between messages.
    /// </remarks>
    /// <param name="headers">The values of <c>Sec-WebSocket-Extensions</c> in the request.</param>
    public static DeflateOffer? Accept(StringValues headers)
    {
        foreach (var header in headers)
        {
            var reader = new ExtensionReader(header);
            while (reader.TryReadExtension(out var name))
            {
                var windowBits = ReadWindowBits(ref reader);
                if (!reader.IsValid) break;
                // Many libraries cannot use a window of 8 bits, so the server skips such an offer.
                if (name != Name || windowBits is not { } bits || bits is > 0 and < MinBits) continue;
                return bits == 0 ? new(MaxBits, LimitsWindow: false) : new(bits, LimitsWindow: true);
            }
        }

        return null;
    }

    /// <summary>
    /// Reads the parameters of an offer, and returns <c>server_max_window_bits</c>. Returns 0 if this parameter is
    /// missing, and null if a parameter is invalid.
    /// </summary>
    static int? ReadWindowBits(ref ExtensionReader reader)
    {
        var (isValid, windowBits) = (true, 0);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        while (reader.TryReadParameter(out var parameter, out var value))
        {
            isValid &= seen.Add(parameter);
            switch (parameter)
            {
                case "server_no_context_takeover" or "client_no_context_takeover":
                    isValid &= value is null;
                    break;
                case "server_max_window_bits":
                    isValid &= TryParseWindowBits(value, out windowBits);
                    break;
                case "client_max_window_bits":
                    // The value is only a hint. The server accepts every window size, so the server ignores the hint.
                    isValid &= value is null || TryParseWindowBits(value, out _);
                    break;
                default:
                    isValid = false;
                    break;
            }
        }

        return isValid ? windowBits : null;
    }

    /// <summary>Parses a number from 8 to 15 without leading zeros (RFC 7692, section 7.1.2).</summary>
    static bool TryParseWindowBits(string? value, out int bits)
    {
        bits = value switch
        {
            [>= '8' and <= '9'] => value[0] - '0',
            ['1', >= '0' and <= '5'] => 10 + value[1] - '0',
            _ => 0,
        };
        return bits > 0;
    }
}
