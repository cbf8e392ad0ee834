using System.Buffers.Binary;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// Parses server frames (RFC 6455, section 5.2). The parser shares no code with the library, so a bug of the library
/// cannot also be in the parser.
/// </summary>
static class FrameParser
{
    public delegate void OnFrame(int opcode, ReadOnlySpan<byte> payload);

    /// <summary>
    /// Returns the error, or null if the bytes are complete, final, unmasked data frames with the shortest length encoding.
    /// </summary>
    public static string? Read(ReadOnlySpan<byte> bytes, OnFrame onFrame)
    {
        if (bytes.IsEmpty) return "The write is empty.";
        while (!bytes.IsEmpty)
        {
            if (bytes.Length < 2) return "The header is incomplete.";
            if ((bytes[0] & 0xF0) != 0x80) return $"The first byte is {bytes[0]:x2}.";
            var opcode = bytes[0] & 0x0F;
            if (opcode is not (1 or 2)) return $"The opcode is {opcode}.";
            var header = bytes[1] switch { < 126 => 2, 126 => 4, 127 => 10, _ => 0 };
            if (header == 0) return "The frame is masked.";
            if (bytes.Length < header) return "The header is incomplete.";
            var length = header switch
            {
                2 => bytes[1],
                4 => BinaryPrimitives.ReadUInt16BigEndian(bytes[2..]),
                _ => (long)BinaryPrimitives.ReadUInt64BigEndian(bytes[2..]),
            };
            if ((header == 4 && length < 126) || (header == 10 && length <= ushort.MaxValue)) return $"A header of {header} bytes encodes the length {length}.";
            if (bytes.Length - header < length) return $"The frame has {length} bytes, but the write contains only {bytes.Length - header}.";
            onFrame(opcode, bytes.Slice(header, (int)length));
            bytes = bytes[(header + (int)length)..];
        }

        return null;
    }
}
