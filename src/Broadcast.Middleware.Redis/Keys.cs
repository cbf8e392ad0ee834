using System.Globalization;
using System.Text;
using StackExchange.Redis;

namespace Broadcast.Middleware;

/// <summary>
/// The names of all keys and channels. No two groups, broadcasts or prefixes share one. All of a group stand in one slot of a Redis Cluster.
/// </summary>
sealed class Keys(string prefix, string broadcast, int database, byte[] channelPrefix)
{
    // A prefix has no '%', and a name no ':' any more, so it is clear where the one ends and the other begins.
    readonly string _start = $"{prefix}:{EscapeName(broadcast)}:";

    public GroupKeys Of(string group)
    {
        // Something before the name, for "{}" would be no tag. Where the name itself has a '}', the tag is shorter, and the same for all of them.
        var tag = $"{_start}{{g:{Escape(group)}}}";
        // Channels know no databases.
        var channel = Encoding.UTF8.GetBytes($"{tag}:c{database.ToString(CultureInfo.InvariantCulture)}");
        return new(tag, channel, [.. channelPrefix, .. channel]);
    }

    public RedisKey Node(string node) => $"{_start}n:{node}";

    /// <summary>Half a surrogate pair is no UTF-8: it would become a question mark, and two names one.</summary>
    public static string Escape(string name)
    {
        if (!name.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF') && !name.Contains('%')) return name;
        var escaped = new StringBuilder(name.Length + 16);
        for (var i = 0; i < name.Length; i++)
        {
            if (i + 1 < name.Length && char.IsSurrogatePair(name[i], name[i + 1])) escaped.Append(name[i]).Append(name[++i]);
            else if (char.IsSurrogate(name[i]) || name[i] == '%') escaped.Append('%').Append(((int)name[i]).ToString("X4", CultureInfo.InvariantCulture));
            else escaped.Append(name[i]);
        }

        return escaped.ToString();
    }

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

            plain.Append((char)int.Parse(name.AsSpan(i + 1, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture));
            i += 4;
        }

        return plain.ToString();
    }

    static string EscapeName(string name) => Escape(name).Replace(":", "%003A", StringComparison.Ordinal).Replace("{", "%007B", StringComparison.Ordinal);
}

/// <summary>One group's.</summary>
sealed class GroupKeys(string tag, byte[] channel, byte[] wire)
{
    /// <summary>
    /// A hash: epoch (e), last offset (o), the last batch's tag (g), the sum of all bytes (b), when its expiry was renewed (x), and for each node the number
    /// of its last batch and where that went.
    /// </summary>
    public RedisKey State { get; } = tag + ":s";

    /// <summary>A stream of batches, each with the offset of its last message as its id.</summary>
    public RedisKey Stream { get; } = tag + ":h";

    /// <summary>A list that says of each batch in the stream what trimming has to know, so that no bodies are read for it.</summary>
    public RedisKey Index { get; } = tag + ":i";

    /// <summary>The set of nodes that have members in the group.</summary>
    public RedisKey Nodes { get; } = tag + ":n";

    /// <summary>The channel, as it is subscribed to: the library puts the connection's own prefix before it, if it has one.</summary>
    public byte[] Channel { get; } = channel;

    /// <summary>The channel as Redis knows it.</summary>
    public byte[] Wire { get; } = wire;

    /// <summary>A hash of the members that a node has.</summary>
    public RedisKey Members(string node) => $"{tag}:m:{node}";
}
