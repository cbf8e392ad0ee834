using System.Net.WebSockets;
using System.Text;

namespace Broadcast.Middleware;

/// <summary>The close codes of the IANA registry for WebSocket that <see cref="WebSocketCloseStatus"/> has no names for.</summary>
static class CloseStatus
{
    public const WebSocketCloseStatus TryAgainLater = (WebSocketCloseStatus)1013;

    // A control frame's payload is 125 bytes at most (RFC 6455, section 5.5), two of them the code.
    const int MaxReasonBytes = 123;

    public static void ThrowIfNotSendable(WebSocketCloseStatus status, string? reason)
    {
        if (!IsSendable(status))
        {
            throw new ArgumentException(
                $"The close code {(int)status} must not be sent (RFC 6455, section 7.4): use 1000, or one of your own from 4000 to 4999.", nameof(status));
        }

        if (reason is not null && Encoding.UTF8.GetByteCount(reason) is var length and > MaxReasonBytes)
            throw new ArgumentException($"The reason has {length} bytes in UTF-8; a close frame takes {MaxReasonBytes} at most.", nameof(reason));
    }

    static bool IsSendable(WebSocketCloseStatus status) => (int)status switch
    {
        1004 or 1005 or 1006 or 1015 => false,
        >= 1000 and <= 1014 => true,
        >= 3000 and <= 4999 => true,
        _ => false,
    };
}
