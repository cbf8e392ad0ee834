using System.Globalization;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Storage;

/// <summary>Parses the entries of a group's stream. Each entry is a batch.</summary>
static class StreamEntryParser
{
    /// <summary>
    /// Returns the batch without an epoch, and the publish time. The time is in milliseconds since 1970, by the clock
    /// of Redis.
    /// </summary>
    public static (Batch Batch, long PublishedAt) Parse(RedisResult entry)
    {
        var id = (string)entry[0]!;
        var idDigits = id.AsSpan(0, id.IndexOf('-', StringComparison.Ordinal));
        var last = long.Parse(idDigits, CultureInfo.InvariantCulture);
        var (count, publishedAt, tag, body) = (0, 0L, "", (byte[])[]);
        var fields = entry[1];
        for (var i = 0; i + 1 < fields.Length; i += 2)
        {
            switch ((string)fields[i]!)
            {
                case "c": count = (int)fields[i + 1]; break;
                case "t": publishedAt = (long)fields[i + 1]; break;
                case "g": tag = (string)fields[i + 1]!; break;
                case "b": body = (byte[])fields[i + 1]!; break;
            }
        }

        return (new("", last, count, null, tag, body), publishedAt);
    }
}
