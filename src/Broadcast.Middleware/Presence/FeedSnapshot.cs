using System.Buffers;

namespace Broadcast.Middleware.Presence;

/// <summary>
/// The items of a feed at one version, encoded once for all subscribers. Each subscriber receives the items in
/// consecutive parts. The object is immutable.
/// </summary>
sealed class FeedSnapshot
{
    readonly ReadOnlyMemory<byte> _json; // The items, with a comma after each item.
    readonly int[] _ends; // The position after each item, without the comma.
    readonly long[] _versions;

    /// <summary>Encodes the items of a feed.</summary>
    /// <param name="version">The version of the feed.</param>
    /// <param name="items">The JSON and the version of each item, oldest change first.</param>
    public FeedSnapshot(long version, IReadOnlyList<(ReadOnlyMemory<byte> Json, long Version)> items)
    {
        Version = version;
        (_ends, _versions) = (new int[items.Count], new long[items.Count]);
        var json = new ArrayBufferWriter<byte>(Math.Max(1, items.Sum(static item => item.Json.Length + 1)));
        for (var i = 0; i < items.Count; i++)
        {
            json.Write(items[i].Json.Span);
            (_ends[i], _versions[i]) = (json.WrittenCount, items[i].Version);
            json.Write(","u8);
        }

        _json = json.WrittenMemory;
    }

    public long Version { get; }

    /// <summary>Returns the next items for a subscriber. The result is empty only if no item is left.</summary>
    /// <param name="sentVersion">The version of the last item that the subscriber has received.</param>
    /// <param name="maxBytes">The maximum size of the result. A result with a single item can be larger.</param>
    /// <param name="lastVersion">
    /// The version of the last returned item. If no item remains after this call, the value is the version of the
    /// snapshot.
    /// </param>
    /// <returns>The JSON of the items, separated by commas.</returns>
    public ReadOnlyMemory<byte> Take(long sentVersion, int maxBytes, out long lastVersion)
    {
        var first = FindAfter(_versions, sentVersion);
        var start = first == 0 ? 0 : _ends[first - 1] + 1;
        var next = first;
        while (next < _ends.Length && (next == first || _ends[next] - start <= maxBytes)) next++;
        lastVersion = next < _ends.Length ? _versions[next - 1] : Version;
        return next == first ? default : _json[start.._ends[next - 1]];
    }

    static int FindAfter(long[] versions, long version)
    {
        var index = Array.BinarySearch(versions, version);
        return index < 0 ? ~index : index + 1;
    }
}
