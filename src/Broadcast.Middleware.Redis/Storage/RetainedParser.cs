using System.Buffers.Text;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Storage;

/// <summary>Parses the retained values of a group: see <see cref="GroupKeys.Retained"/>.</summary>
static class RetainedParser
{
    /// <summary>Returns the messages, oldest first.</summary>
    /// <param name="fields">The names and values of the hash, from <see cref="Scripts.Subscribe"/>.</param>
    public static List<RetainedMessage> Parse(RedisResult fields)
    {
        var entries = (RedisResult[])fields!;
        var messages = new List<RetainedMessage>(entries.Length / 2);
        for (var i = 0; i + 1 < entries.Length; i += 2)
        {
            // The empty field contains the epoch and the total bytes.
            if (((ReadOnlyMemory<byte>)(RedisValue)entries[i]).IsEmpty) continue;
            ReadOnlyMemory<byte> value = (byte[])entries[i + 1]!;
            if (Utf8Parser.TryParse(value.Span, out long offset, out var length))
                messages.Add(new(offset, value[(length + 1)..]));
        }

        messages.Sort(static (left, right) => left.Offset.CompareTo(right.Offset));
        return messages;
    }
}
