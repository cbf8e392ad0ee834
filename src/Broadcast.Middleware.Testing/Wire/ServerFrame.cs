using System.Buffers.Binary;
using System.Text;

namespace Broadcast.Middleware.Testing.Wire;

/// <summary>A received frame with its raw header.</summary>
sealed record ServerFrame(byte[] Header, byte[] Payload)
{
    public int Opcode => Header[0] & 0x0F;

    /// <summary>True if the frame has the bit RSV1 (RFC 7692, section 6).</summary>
    public bool IsCompressed => (Header[0] & 0x40) != 0;

    /// <summary>The payload before the decompression.</summary>
    public byte[] Sent { get; init; } = Payload;

    public string Text => Encoding.UTF8.GetString(Payload);

    /// <summary>The code of a close frame. Null if the payload contains no code.</summary>
    public int? CloseCode => Payload.Length < 2 ? null : BinaryPrimitives.ReadUInt16BigEndian(Payload);

    public string CloseReason => Payload.Length < 2 ? "" : Encoding.UTF8.GetString(Payload.AsSpan(2));
}
