namespace WebDemo.Tests;

/// <summary>Reads the fields of a protobuf message without its schema (protobuf documentation, "Encoding").</summary>
static class ProtobufFields
{
    /// <summary>Returns the content of each length-delimited field with this number, and skips all other fields.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Read(ReadOnlyMemory<byte> message, int number)
    {
        while (!message.IsEmpty)
        {
            var key = ReadVarint(ref message);
            switch (key & 7)
            {
                case 0:
                    ReadVarint(ref message);
                    break;
                case 1:
                    message = message[sizeof(ulong)..];
                    break;
                case 2:
                    var length = checked((int)ReadVarint(ref message));
                    if ((int)(key >> 3) == number) yield return message[..length];
                    message = message[length..];
                    break;
                case 5:
                    message = message[sizeof(uint)..];
                    break;
                default:
                    throw new InvalidDataException($"Protobuf has no wire type {key & 7}.");
            }
        }
    }

    static ulong ReadVarint(ref ReadOnlyMemory<byte> message)
    {
        ulong value = 0;
        for (var shift = 0;; shift += 7)
        {
            var next = message.Span[0];
            message = message[1..];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80) return value;
        }
    }
}
