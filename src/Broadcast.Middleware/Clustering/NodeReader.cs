using System.Buffers.Binary;
using System.Text;

namespace Broadcast.Middleware.Clustering;

/// <summary>Reads messages that a <see cref="NodeWriter"/> wrote.</summary>
/// <remarks>Every method throws an <see cref="InvalidDataException"/> if the bytes are invalid.</remarks>
ref struct NodeReader(ReadOnlyMemory<byte> bytes)
{
    static readonly long Earliest = DateTimeOffset.MinValue.ToUnixTimeMilliseconds();
    static readonly long Latest = DateTimeOffset.MaxValue.ToUnixTimeMilliseconds();

    int _at;

    public ReadOnlyMemory<byte> Rest => bytes[_at..];

    /// <summary>
    /// Reads and checks the version. During an update, nodes with different package versions may run at the same time.
    /// </summary>
    public void ReadVersion()
    {
        if (ReadByte() is not NodeWriter.Version and var version)
        {
            throw new InvalidDataException(
                $"Another node sends messages of version {version}, but this node reads version " +
                $"{NodeWriter.Version}. Run the same package version on all nodes.");
        }
    }

    public byte ReadByte() => Take(1)[0];

    public int ReadInt32() => BinaryPrimitives.ReadInt32LittleEndian(Take(4));

    public long ReadInt64() => BinaryPrimitives.ReadInt64LittleEndian(Take(8));

    public DateTimeOffset ReadTime()
    {
        var milliseconds = ReadInt64();
        if (milliseconds >= Earliest && milliseconds <= Latest)
            return DateTimeOffset.FromUnixTimeMilliseconds(milliseconds);
        throw new InvalidDataException(
            $"Another node sent the time {milliseconds} ms, which is out of range. Check the clock of that node.");
    }

    /// <summary>Reads the number of items that follow. Each item has at least one byte.</summary>
    public int ReadCount()
    {
        var count = ReadInt32();
        return count >= 0 && count <= bytes.Length - _at ? count : throw Unreadable();
    }

    public string ReadString() => Encoding.UTF8.GetString(Take(ReadInt32()));

    public string[] ReadStrings()
    {
        var texts = new string[ReadCount()];
        for (var i = 0; i < texts.Length; i++) texts[i] = ReadString();
        return texts;
    }

    public string? ReadStringOrNull()
    {
        var size = ReadInt32();
        return size == -1 ? null : Encoding.UTF8.GetString(Take(size));
    }

    ReadOnlySpan<byte> Take(int size)
    {
        if (size < 0 || size > bytes.Length - _at) throw Unreadable();
        var taken = bytes.Span.Slice(_at, size);
        _at += size;
        return taken;
    }

    static InvalidDataException Unreadable() => new(
        "A message of another node is invalid. Check that no other program publishes to the groups of this cluster, " +
        "and that all nodes run the same package version.");
}
