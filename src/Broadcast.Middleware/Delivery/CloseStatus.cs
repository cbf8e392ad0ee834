using System.Net.WebSockets;
using System.Text;

namespace Broadcast.Middleware.Delivery;

/// <summary>Validates close codes and reasons, and names codes that <see cref="WebSocketCloseStatus"/> lacks.</summary>
static class CloseStatus
{
    /// <summary>The close code 1013 from the IANA registry for WebSocket close codes.</summary>
    public const WebSocketCloseStatus TryAgainLater = (WebSocketCloseStatus)1013;

    // The payload of a control frame has at most 125 bytes (RFC 6455, section 5.5). The close code takes two of these
    // bytes.
    const int MaxReasonBytes = 123;

    public static void ThrowIfNotSendable(WebSocketCloseStatus status, string? reason)
    {
        if (!IsSendable(status))
        {
            throw new ArgumentException(
                $"A server must not send the close code {(int)status} (RFC 6455, section 7.4). " +
                "Use 1000, or a code of your own from 4000 to 4999.", nameof(status));
        }

        if (!IsShort(reason))
        {
            throw new ArgumentException(
                $"The close reason has {Encoding.UTF8.GetByteCount(reason!)} bytes in UTF-8. " +
                $"Shorten it to at most {MaxReasonBytes} bytes.",
                nameof(reason));
        }
    }

    /// <summary>Returns true if the reason fits into a close frame.</summary>
    public static bool IsShort(string? reason) =>
        reason is null || Encoding.UTF8.GetByteCount(reason) <= MaxReasonBytes;

    /// <summary>Returns true if a close frame may contain the close code (RFC 6455, section 7.4).</summary>
    public static bool IsSendable(WebSocketCloseStatus status) => (int)status switch
    {
        1004 or 1005 or 1006 or 1015 => false,
        >= 1000 and <= 1014 => true,
        >= 3000 and <= 4999 => true,
        _ => false,
    };
}
