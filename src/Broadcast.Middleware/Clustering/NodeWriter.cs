using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Broadcast.Middleware.Clustering;

/// <summary>
/// Writes a message for another node. Numbers are little-endian. Text is a length, followed by UTF-8 bytes.
/// </summary>
readonly struct NodeWriter(int capacity)
{
    public const byte Version = 1;

    readonly ArrayBufferWriter<byte> _bytes = new(capacity);

    public ReadOnlyMemory<byte> Written => _bytes.WrittenMemory;

    /// <summary>Writes the version. Every message starts with the version.</summary>
    public void WriteVersion() => Write(Version);

    public void Write(byte number) => _bytes.Write([number]);

    public void Write(int number)
    {
        BinaryPrimitives.WriteInt32LittleEndian(_bytes.GetSpan(4), number);
        _bytes.Advance(4);
    }

    public void Write(long number)
    {
        BinaryPrimitives.WriteInt64LittleEndian(_bytes.GetSpan(8), number);
        _bytes.Advance(8);
    }

    /// <summary>Writes a time with a precision of one millisecond.</summary>
    public void Write(DateTimeOffset time) => Write(time.ToUnixTimeMilliseconds());

    public void Write(string text)
    {
        var size = Encoding.UTF8.GetByteCount(text);
        Write(size);
        Encoding.UTF8.GetBytes(text, _bytes.GetSpan(size));
        _bytes.Advance(size);
    }

    /// <summary>Writes a text or null. Null has the length -1.</summary>
    public void WriteOrNull(string? text)
    {
        if (text is null) Write(-1);
        else Write(text);
    }

    public void Write(IReadOnlyCollection<string> texts)
    {
        Write(texts.Count);
        foreach (var text in texts) Write(text);
    }

    /// <summary>Writes the last bytes of a message. The last bytes need no length.</summary>
    public void WriteRest(ReadOnlySpan<byte> bytes) => _bytes.Write(bytes);
}
