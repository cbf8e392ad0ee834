using System.Buffers.Binary;
using System.Buffers.Text;

namespace Broadcast.Middleware.Redis.Storage;

/// <summary>Consecutive messages of one group that Redis numbers in one step.</summary>
/// <remarks>
/// For each message, the body contains the length and the payload. The length is a little-endian number of four bytes.
/// For a transient message, the body contains the bitwise complement of the length. Such a message has no offset. Only
/// a batch from a channel contains transient messages. If all messages are transient, the batch has the offset of the
/// previous batch. Its tag identifies only this batch.
/// </remarks>
/// <param name="Epoch">The epoch, in the text format of <see cref="Storage.Epoch"/>.</param>
/// <param name="Last">The offset of the last message.</param>
/// <param name="Count">The number of messages with an offset.</param>
/// <param name="PreviousTag">The tag of the previous batch. Null in a batch from a stream.</param>
/// <param name="Tag">Identifies the batch and all earlier batches: see <see cref="Scripts.Publish"/>.</param>
/// <param name="Body">The encoded messages.</param>
readonly record struct Batch(
    string Epoch, long Last, int Count, string? PreviousTag, string Tag, ReadOnlyMemory<byte> Body)
{
    /// <summary>The tag of a group without batches.</summary>
    public const string NoTag = "-";

    /// <summary>
    /// The number of bytes that the limits count for each message in addition to the payload. The history, the repair
    /// window, and the log in memory use the same value.
    /// </summary>
    public const int MessageOverhead = 32;

    const int LengthBytes = 4;

    /// <summary>
    /// The offset of the first message. For a batch with only transient messages, the value is the next offset of the
    /// group.
    /// </summary>
    public long First => Last - Count + 1;

    /// <summary>Counts all messages, including transient messages.</summary>
    public int CountMessages()
    {
        var count = 0;
        for (var body = Body; !body.IsEmpty; count++) TakeMessage(ref body);
        return count;
    }

    /// <summary>Returns the number of bytes that a message needs in the body.</summary>
    public static int GetEncodedSize(int messageLength) => LengthBytes + messageLength;

    /// <summary>Writes a message into <paramref name="body"/> and advances <paramref name="index"/>.</summary>
    public static void Append(byte[] body, ref int index, ReadOnlySpan<byte> message)
    {
        BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(index), message.Length);
        message.CopyTo(body.AsSpan(index + LengthBytes));
        index += LengthBytes + message.Length;
    }

    /// <summary>Writes a transient message: see <see cref="Append"/>.</summary>
    public static void AppendTransient(byte[] body, ref int index, ReadOnlySpan<byte> message)
    {
        var start = index;
        Append(body, ref index, message);
        BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(start), ~message.Length);
    }

    /// <summary>Returns the first message of <paramref name="body"/>, and removes this message from the body.</summary>
    public static ReadOnlyMemory<byte> TakeMessage(ref ReadOnlyMemory<byte> body) => TakeMessage(ref body, out _);

    /// <summary>Returns the first message of <paramref name="body"/>, and removes this message from the body.</summary>
    public static ReadOnlyMemory<byte> TakeMessage(ref ReadOnlyMemory<byte> body, out bool isTransient)
    {
        var length = BinaryPrimitives.ReadInt32LittleEndian(body.Span);
        isTransient = length < 0;
        if (isTransient) length = ~length;
        var message = body.Slice(LengthBytes, length);
        body = body[(LengthBytes + length)..];
        return message;
    }

    /// <summary>
    /// Parses a message of a channel. The first line contains the epoch, the last offset, the count, the previous tag
    /// and the tag, separated by spaces. The body follows.
    /// </summary>
    public static bool TryParse(ReadOnlyMemory<byte> channelMessage, out Batch batch)
    {
        batch = default;
        var end = channelMessage.Span.IndexOf((byte)'\n');
        if (end < 0) return false;
        var header = channelMessage.Span[..end];
        Span<Range> parts = stackalloc Range[6];
        var found = 0;
        foreach (var part in header.Split((byte)' '))
        {
            if (found == 5) return false;
            parts[found++] = part;
        }

        if (found != 5
            || !Utf8Parser.TryParse(header[parts[1]], out long last, out _)
            || !Utf8Parser.TryParse(header[parts[2]], out int count, out _)) return false;
        batch = new(
            Text(header[parts[0]]), last, count, Text(header[parts[3]]), Text(header[parts[4]]),
            channelMessage[(end + 1)..]);
        return true;

        static string Text(ReadOnlySpan<byte> ascii) => System.Text.Encoding.ASCII.GetString(ascii);
    }
}
