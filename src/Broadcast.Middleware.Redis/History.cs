using StackExchange.Redis;

namespace Broadcast.Middleware;

/// <summary>Reads what a group has kept, from its newest message back, as far as its limits go.</summary>
static class History
{
    /// <summary>What a message counts beside its own bytes, as in the broadcast's own memory.</summary>
    public const int Overhead = 32;

    const int BatchesAtOnce = 64;

    /// <summary>How many batches to ask for at first, in the step in which the subscription begins: what is trimmed right after it is had then.</summary>
    public static int BatchesAtFirst(GroupOptions? limits) => limits is { HistoryMessages: > 0 } ? BatchesAtOnce : 0;

    public static async Task<IReadOnlyList<ReadOnlyMemory<byte>>> ReadAsync(
        RedisLink link, GroupKeys keys, string epoch, long last, RedisResult answer, GroupOptions? limits, long deadline, CancellationToken cancellationToken)
    {
        if (limits is not { HistoryMessages: > 0 }) return [];
        var newestFirst = new List<ReadOnlyMemory<byte>>();
        var batch = new List<ReadOnlyMemory<byte>>();
        var bytes = 0L;
        while (last > 0)
        {
            var now = (long)answer[0];
            var entries = (RedisResult[])answer[1]!;
            foreach (var entry in entries)
            {
                var (found, at) = StreamEntry.Read(entry);
                // Trimmed meanwhile, so that something is missing in between: what is older is of no use.
                if (found.Last != last) return Oldest(newestFirst);
                if (limits.HistoryAge != Timeout.InfiniteTimeSpan && now - at > limits.HistoryAge.TotalMilliseconds) return Oldest(newestFirst);
                batch.Clear();
                for (var body = found.Body; !body.IsEmpty;) batch.Add(Batch.Next(ref body));
                for (var i = batch.Count - 1; i >= 0; i--)
                {
                    bytes += batch[i].Length + Overhead;
                    if (newestFirst.Count == limits.HistoryMessages || bytes > limits.HistoryBytes) return Oldest(newestFirst);
                    newestFirst.Add(batch[i]);
                }

                last = found.First - 1;
            }

            if (entries.Length < BatchesAtOnce) break;
            answer = await link.RunAsync(Scripts.Back, [keys.State, keys.Stream], [epoch, last, BatchesAtOnce], deadline, cancellationToken: cancellationToken);
            // Lost since the subscription began: whoever has subscribed is about to be told.
            if (answer.IsNull) break;
        }

        return Oldest(newestFirst);
    }

    static List<ReadOnlyMemory<byte>> Oldest(List<ReadOnlyMemory<byte>> newestFirst)
    {
        newestFirst.Reverse();
        return newestFirst;
    }
}
