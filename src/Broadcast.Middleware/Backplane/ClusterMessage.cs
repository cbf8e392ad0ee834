using System.Buffers.Binary;
using System.Text;

namespace Broadcast.Middleware;

/// <summary>A message on its way between nodes: what is to be known of it, and its payload.</summary>
/// <param name="Message">The message; decoded, its payload is a part of what it was decoded from.</param>
/// <param name="Excluded">The connections that do not get it.</param>
/// <param name="PublishedAt">Unix time in milliseconds, by the clock of the node where it was published.</param>
/// <param name="SharedId">The same for its copies in several groups; 0 if there are none.</param>
readonly record struct ClusterMessage(Message Message, IReadOnlyCollection<string> Excluded, long PublishedAt, long SharedId)
{
    // Nodes of one cluster may run different versions of this package for a while.
    const byte Version = 1;

    [Flags]
    enum Parts : byte
    {
        None = 0,
        Binary = 1,
        Json = 2,
        Key = 4,
        Sender = 8,
        SenderUser = 16,
        Excluded = 32,
        Shared = 64,
    }

    public byte[] Encode()
    {
        var (key, sender) = (Message.Key, Message.Sender);
        var parts = (Message.Type == MessageType.Binary ? Parts.Binary : 0)
            | (Message.IsJson ? Parts.Json : 0)
            | (key is null ? 0 : Parts.Key)
            | (sender is null ? 0 : Parts.Sender)
            | (sender?.UserId is null ? 0 : Parts.SenderUser)
            | (Excluded.Count == 0 ? 0 : Parts.Excluded)
            | (SharedId == 0 ? 0 : Parts.Shared);
        var size = 2 + 8 + Size(key) + Size(sender?.ConnectionId) + Size(sender?.UserId) + (SharedId == 0 ? 0 : 8)
            + (Excluded.Count == 0 ? 0 : 4 + Excluded.Sum(Size)) + Message.Payload.Length;
        var bytes = new byte[size];
        (bytes[0], bytes[1]) = (Version, (byte)parts);
        var rest = bytes.AsSpan(2);
        Write(ref rest, PublishedAt);
        Write(ref rest, key);
        Write(ref rest, sender?.ConnectionId);
        Write(ref rest, sender?.UserId);
        if (SharedId != 0) Write(ref rest, SharedId);
        if (Excluded.Count > 0)
        {
            BinaryPrimitives.WriteInt32LittleEndian(rest, Excluded.Count);
            rest = rest[4..];
            foreach (var id in Excluded) Write(ref rest, id);
        }

        Message.Payload.Span.CopyTo(rest);
        return bytes;
    }

    /// <exception cref="InvalidDataException">It was not encoded here.</exception>
    public static ClusterMessage Decode(ReadOnlyMemory<byte> bytes)
    {
        try
        {
            var span = bytes.Span;
            if (span[0] != Version) throw new InvalidDataException($"A node of the cluster sends messages in version {span[0]}, and this one reads {Version}: run one version.");
            var parts = (Parts)span[1];
            var at = 2;
            var publishedAt = ReadInt64(span, ref at);
            var key = parts.HasFlag(Parts.Key) ? ReadString(span, ref at) : null;
            var sender = parts.HasFlag(Parts.Sender) ? ReadString(span, ref at) : null;
            var user = parts.HasFlag(Parts.SenderUser) ? ReadString(span, ref at) : null;
            var sharedId = parts.HasFlag(Parts.Shared) ? ReadInt64(span, ref at) : 0;
            string[] excluded = parts.HasFlag(Parts.Excluded) ? new string[ReadInt32(span, ref at)] : [];
            for (var i = 0; i < excluded.Length; i++) excluded[i] = ReadString(span, ref at);
            var message = new Message(bytes[at..], parts.HasFlag(Parts.Binary) ? MessageType.Binary : MessageType.Text)
            {
                IsJson = parts.HasFlag(Parts.Json),
                Key = key,
                Sender = sender is null ? null : new(sender, user),
            };
            return new(message, excluded, publishedAt, sharedId);
        }
        catch (Exception exception) when (exception is ArgumentException or IndexOutOfRangeException or OverflowException)
        {
            throw new InvalidDataException("A message of the cluster cannot be read: does something else publish under the same names?", exception);
        }
    }

    static int Size(string? text) => text is null ? 0 : 4 + Encoding.UTF8.GetByteCount(text);

    static void Write(ref Span<byte> to, long number)
    {
        BinaryPrimitives.WriteInt64LittleEndian(to, number);
        to = to[8..];
    }

    static void Write(ref Span<byte> to, string? text)
    {
        if (text is null) return;
        var length = Encoding.UTF8.GetBytes(text, to[4..]);
        BinaryPrimitives.WriteInt32LittleEndian(to, length);
        to = to[(4 + length)..];
    }

    static long ReadInt64(ReadOnlySpan<byte> from, ref int at)
    {
        var number = BinaryPrimitives.ReadInt64LittleEndian(from[at..]);
        at += 8;
        return number;
    }

    static int ReadInt32(ReadOnlySpan<byte> from, ref int at)
    {
        var number = BinaryPrimitives.ReadInt32LittleEndian(from[at..]);
        at += 4;
        // Whatever it counts takes a byte each at least.
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)number, (uint)(from.Length - at));
        return number;
    }

    static string ReadString(ReadOnlySpan<byte> from, ref int at)
    {
        var length = ReadInt32(from, ref at);
        var text = Encoding.UTF8.GetString(from.Slice(at, length));
        at += length;
        return text;
    }
}
