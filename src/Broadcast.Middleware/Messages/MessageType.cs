namespace Broadcast.Middleware;

/// <summary>The type of a message. Each recipient receives the message with the type that the sender used.</summary>
public enum MessageType
{
    /// <summary>UTF-8 text (RFC 6455, section 5.6, opcode 1).</summary>
    Text = 1,

    /// <summary>Arbitrary bytes (RFC 6455, section 5.6, opcode 2).</summary>
    Binary = 2,
}
