using System.Buffers.Binary;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// Parses server frames (RFC 6455, section 5.2). The parser shares no code with the library, so a bug of the library cannot hide in both.
/// </summary>
static class FrameParser
{
    public delegate void OnFrame(int opcode, ReadOnlySpan<byte> payload);

    /// <summary>
    /// Returns the error, or null if the bytes are complete, final, unmasked data frames with the shortest length encoding.
    /// </summary>
    public static string? Read(ReadOnlySpan<byte> bytes, OnFrame onFrame)
    {
        if (bytes.IsEmpty) return "An empty write.";
        while (!bytes.IsEmpty)
        {
            if (bytes.Length < 2) return "A cut header.";
            if ((bytes[0] & 0xF0) != 0x80) return $"A first byte of {bytes[0]:x2}.";
            var opcode = bytes[0] & 0x0F;
            if (opcode is not (1 or 2)) return $"Opcode {opcode}.";
            var header = bytes[1] switch { < 126 => 2, 126 => 4, 127 => 10, _ => 0 };
            if (header == 0) return "A masked frame.";
            if (bytes.Length < header) return "A cut header.";
            var length = header switch
            {
                2 => bytes[1],
                4 => BinaryPrimitives.ReadUInt16BigEndian(bytes[2..]),
                _ => (long)BinaryPrimitives.ReadUInt64BigEndian(bytes[2..]),
            };
            if ((header == 4 && length < 126) || (header == 10 && length <= ushort.MaxValue)) return $"A length of {length} in a header of {header}.";
            if (bytes.Length - header < length) return $"A frame of {length} bytes of which {bytes.Length - header} are here.";
            onFrame(opcode, bytes.Slice(header, (int)length));
            bytes = bytes[(header + (int)length)..];
        }

        return null;
    }
}
