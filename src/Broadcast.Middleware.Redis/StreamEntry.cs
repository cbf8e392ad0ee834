using System.Globalization;
using StackExchange.Redis;

namespace Broadcast.Middleware;

/// <summary>A batch as it stands in a group's stream.</summary>
static class StreamEntry
{
    /// <summary>The batch, without its epoch, and when it was published, by the clock of Redis.</summary>
    public static (Batch Batch, long At) Read(RedisResult entry)
    {
        var id = (string)entry[0]!;
        var last = long.Parse(id.AsSpan(0, id.IndexOf('-', StringComparison.Ordinal)), CultureInfo.InvariantCulture);
        var (count, at, tag, body) = (0, 0L, "", (byte[])[]);
        var fields = entry[1];
        for (var i = 0; i + 1 < fields.Length; i += 2)
        {
            switch ((string)fields[i]!)
            {
                case "c": count = (int)fields[i + 1]; break;
                case "t": at = (long)fields[i + 1]; break;
                case "g": tag = (string)fields[i + 1]!; break;
                case "b": body = (byte[])fields[i + 1]!; break;
            }
        }

        return (new("", last, count, null, tag, body), at);
    }
}
