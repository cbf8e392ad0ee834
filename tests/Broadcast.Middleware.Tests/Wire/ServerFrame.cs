using System.Buffers.Binary;
using System.Text;

namespace Broadcast.Middleware.Tests.Wire;

/// <summary>A frame as it came, its header byte for byte.</summary>
sealed record ServerFrame(byte[] Header, byte[] Payload)
{
    public int Opcode => Header[0] & 0x0F;

    public string Text => Encoding.UTF8.GetString(Payload);

    /// <summary>Of a close frame; null without one.</summary>
    public int? CloseCode => Payload.Length < 2 ? null : BinaryPrimitives.ReadUInt16BigEndian(Payload);

    public string CloseReason => Payload.Length < 2 ? "" : Encoding.UTF8.GetString(Payload.AsSpan(2));
}
