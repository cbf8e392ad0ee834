using System.Buffers.Binary;
using System.Text;

namespace Broadcast.Middleware;

/// <summary>Reads what a <see cref="NodeWriter"/> has written.</summary>
ref struct NodeReader(ReadOnlyMemory<byte> bytes)
{
    static readonly long Earliest = DateTimeOffset.MinValue.ToUnixTimeMilliseconds();
    static readonly long Latest = DateTimeOffset.MaxValue.ToUnixTimeMilliseconds();

    int _at;

    public ReadOnlyMemory<byte> Rest => bytes[_at..];

    /// <summary>Nodes of one cluster may run different versions of this package for a while.</summary>
    public void ReadVersion()
    {
        if (ReadByte() is not NodeWriter.Version and var version)
            throw new InvalidDataException($"A node of the cluster sends messages in version {version}, and this one reads {NodeWriter.Version}: run one version.");
    }

    public byte ReadByte() => Take(1)[0];

    public int ReadInt32() => BinaryPrimitives.ReadInt32LittleEndian(Take(4));

    public long ReadInt64() => BinaryPrimitives.ReadInt64LittleEndian(Take(8));

    public DateTimeOffset ReadTime()
    {
        var milliseconds = ReadInt64();
        return milliseconds >= Earliest && milliseconds <= Latest
            ? DateTimeOffset.FromUnixTimeMilliseconds(milliseconds)
            : throw new InvalidDataException($"Another node's clock says {milliseconds} ms, which is no time.");
    }

    /// <summary>A number of things, each of which takes a byte at least.</summary>
    public int ReadCount() => ReadInt32() is >= 0 and var count && count <= bytes.Length - _at ? count : throw Unreadable();

    public string ReadString() => Encoding.UTF8.GetString(Take(ReadInt32()));

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

    static InvalidDataException Unreadable() => new("What another node has sent cannot be read: does something else publish under the same names, or run another version?");
}
