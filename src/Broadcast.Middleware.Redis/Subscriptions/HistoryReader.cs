using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Storage;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Subscriptions;

/// <summary>Reads the history of a group backward from the newest message, within the limits of the history.</summary>
sealed class HistoryReader(RedisConnection connection)
{
    /// <summary>
    /// Returns the limits of the history as script arguments: the messages, the bytes and the milliseconds. The
    /// subscribe script reads the first page in the same atomic step as the start position. So a concurrent publish
    /// cannot trim the page before the script reads the page.
    /// </summary>
    public static RedisValue[] GetLimits(GroupOptions? history) => history is { HistoryMessages: > 0 }
        ? GetLimits(history, history.HistoryMessages, history.HistoryBytes)
        : [0, 0, 0];

    /// <summary>Returns the messages of the history, oldest first.</summary>
    /// <param name="keys">The keys of the group.</param>
    /// <param name="epoch">The epoch of the subscription.</param>
    /// <param name="lastOffset">The offset at which the subscription starts.</param>
    /// <param name="page">The first page, from the subscribe script.</param>
    /// <param name="history">The limits of the history.</param>
    /// <param name="deadline">The deadline of the subscription.</param>
    /// <param name="cancellationToken">Cancels the subscription.</param>
    public async Task<IReadOnlyList<ReadOnlyMemory<byte>>> ReadAsync(
        GroupKeys keys, string epoch, long lastOffset, RedisResult page, GroupOptions? history, long deadline,
        CancellationToken cancellationToken)
    {
        if (history is not { HistoryMessages: > 0 }) return [];
        var newestFirst = new List<ReadOnlyMemory<byte>>();
        var messages = new List<ReadOnlyMemory<byte>>();
        var bytes = 0L;
        while (lastOffset > 0)
        {
            var now = (long)page[0];
            var isLastPage = (long)page[2] == 1;
            foreach (var entry in (RedisResult[])page[1]!)
            {
                var (batch, publishedAt) = StreamEntryParser.Parse(entry);
                // A concurrent publish has trimmed the next batch. Stop, because older batches would leave a gap.
                if (batch.Last != lastOffset) return Reverse(newestFirst);
                if (IsExpired(now - publishedAt)) return Reverse(newestFirst);
                messages.Clear();
                for (var body = batch.Body; !body.IsEmpty;) messages.Add(Batch.TakeMessage(ref body));
                for (var i = messages.Count - 1; i >= 0; i--)
                {
                    bytes += messages[i].Length + Batch.MessageOverhead;
                    if (newestFirst.Count == history.HistoryMessages || bytes > history.HistoryBytes)
                        return Reverse(newestFirst);
                    newestFirst.Add(messages[i]);
                }

                lastOffset = batch.First - 1;
            }

            if (isLastPage) break;
            var limits = GetLimits(
                history, history.HistoryMessages - newestFirst.Count, history.HistoryBytes - bytes);
            page = await connection.RunScriptAsync(
                Scripts.ReadBackward, [keys.State, keys.Stream], [epoch, lastOffset, .. limits],
                deadline, cancellationToken: cancellationToken);
            // Null means that a new epoch has started since the subscription. The next check reports the loss.
            if (page.IsNull) break;
        }

        return Reverse(newestFirst);

        bool IsExpired(long ageMilliseconds) =>
            history.HistoryAge != Timeout.InfiniteTimeSpan
            && ageMilliseconds > history.HistoryAge.TotalMilliseconds;
    }

    static RedisValue[] GetLimits(GroupOptions history, int messages, long bytes) =>
        [messages, bytes, Scripts.FormatAge(history.HistoryAge)];

    static List<ReadOnlyMemory<byte>> Reverse(List<ReadOnlyMemory<byte>> messages)
    {
        messages.Reverse();
        return messages;
    }
}
