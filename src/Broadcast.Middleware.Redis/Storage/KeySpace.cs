using System.Globalization;
using System.Text;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Storage;

/// <summary>Creates the names of all keys and channels of one broadcast.</summary>
/// <remarks>Invariant: groups with different names, broadcasts or prefixes never share a key.</remarks>
sealed class KeySpace(string prefix, string broadcast, int database, byte[] channelPrefix)
{
    // The prefix contains no '%', and the escaped broadcast name contains no ':'. So different prefixes and broadcast
    // names result in different key names.
    readonly string _start = $"{prefix}:{EscapeBroadcastName(broadcast)}:";

    public GroupKeys ForGroup(string group)
    {
        // The text "g:" prevents an empty hash tag, because Redis ignores "{}". If the group name contains '}', Redis
        // uses a shorter hash tag. All keys of the group still have the same hash tag.
        var start = $"{_start}{{g:{Escape(group)}}}";
        // Redis shares channels between its databases, so the channel name contains the database number.
        var channel = Encoding.UTF8.GetBytes($"{start}:c{database.ToString(CultureInfo.InvariantCulture)}");
        return new(start, channel, [.. channelPrefix, .. channel]);
    }

    /// <summary>The heartbeat key of a node. Other nodes consider the node alive while the key exists.</summary>
    public RedisKey Heartbeat(string node) => $"{_start}n:{node}";

    /// <summary>
    /// Replaces each '%' and each unpaired surrogate with '%' and four hexadecimal digits. UTF-8 cannot encode an
    /// unpaired surrogate. Without the replacement, two different names would become equal.
    /// </summary>
    public static string Escape(string name)
    {
        if (!name.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF') && !name.Contains('%')) return name;
        var escaped = new StringBuilder(name.Length + 16);
        for (var i = 0; i < name.Length; i++)
        {
            if (i + 1 < name.Length && char.IsSurrogatePair(name[i], name[i + 1]))
                escaped.Append(name[i]).Append(name[++i]);
            else if (char.IsSurrogate(name[i]) || name[i] == '%')
                escaped.Append('%').Append(((int)name[i]).ToString("X4", CultureInfo.InvariantCulture));
            else escaped.Append(name[i]);
        }

        return escaped.ToString();
    }

    /// <summary>Reverses <see cref="Escape"/>.</summary>
    public static string Unescape(string name)
    {
        if (!name.Contains('%')) return name;
        var plain = new StringBuilder(name.Length);
        for (var i = 0; i < name.Length; i++)
        {
            if (name[i] != '%')
            {
                plain.Append(name[i]);
                continue;
            }

            var digits = name.AsSpan(i + 1, 4);
            plain.Append((char)int.Parse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture));
            i += 4;
        }

        return plain.ToString();
    }

    static string EscapeBroadcastName(string name) => Escape(name)
        .Replace(":", "%003A", StringComparison.Ordinal)
        .Replace("{", "%007B", StringComparison.Ordinal);
}
