using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Broadcast.Middleware;

/// <summary>Writes what nodes tell each other: numbers in little endian, texts as UTF-8 after their length.</summary>
readonly struct NodeWriter(int capacity)
{
    public const byte Version = 1;

    readonly ArrayBufferWriter<byte> _bytes = new(capacity);

    public ReadOnlyMemory<byte> Written => _bytes.WrittenMemory;

    /// <summary>First of all.</summary>
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

    /// <summary>To the millisecond.</summary>
    public void Write(DateTimeOffset time) => Write(time.ToUnixTimeMilliseconds());

    public void Write(string text)
    {
        var size = Encoding.UTF8.GetByteCount(text);
        Write(size);
        Encoding.UTF8.GetBytes(text, _bytes.GetSpan(size));
        _bytes.Advance(size);
    }

    /// <summary>Null as a text that cannot be.</summary>
    public void WriteOrNull(string? text)
    {
        if (text is null) Write(-1);
        else Write(text);
    }

    /// <summary>What stands at the end, and needs no length.</summary>
    public void WriteRest(ReadOnlySpan<byte> bytes) => _bytes.Write(bytes);
}
