namespace Broadcast.Middleware;

/// <summary>What a message's bytes are; a receiver gets the type the sender used.</summary>
public enum MessageType
{
    /// <summary>Text in UTF-8 (RFC 6455, section 5.6: opcode 1).</summary>
    Text = 1,

    /// <summary>Any bytes (RFC 6455, section 5.6: opcode 2).</summary>
    Binary = 2,
}
