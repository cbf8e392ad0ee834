using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Storage;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Subscriptions;

/// <summary>Reads the batches that follow a position from the stream of a group.</summary>
sealed class CatchUpReader(RedisConnection connection, RedisLogger logger)
{
    const int BatchesPerRead = 16;
    static readonly TimeSpan AttemptTimeout = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Reads one page. This method repeats the read while Redis is unreachable, because the messages may still be in
    /// the stream.
    /// </summary>
    /// <param name="keys">The keys of the group.</param>
    /// <param name="epoch">The epoch of the subscription.</param>
    /// <param name="offset">The last delivered offset.</param>
    /// <param name="tag">The tag of the last delivered batch.</param>
    /// <param name="stopping">Canceled when the subscription ends.</param>
    /// <returns>
    /// The last offset of the group and the batches. Null if Redis no longer has all messages after the offset, or if
    /// the group has another epoch.
    /// </returns>
    public async Task<(long LastOffset, IEnumerable<Batch> Batches)?> ReadAsync(
        GroupKeys keys, string epoch, long offset, string tag, CancellationToken stopping)
    {
        while (true)
        {
            try
            {
                var page = await connection.RunScriptAsync(
                    Scripts.ReadForward, [keys.State, keys.Stream, keys.Index, keys.Retained],
                    [epoch, offset, tag, BatchesPerRead, Epoch.CreateAfter(epoch)],
                    connection.GetDeadline(AttemptTimeout), cancellationToken: stopping);
                if (page.IsNull) return null;
                var entries = (RedisResult[])page[1]!;
                return ((long)page[0], entries.Select(static entry => StreamEntryParser.Parse(entry).Batch));
            }
            catch (BackplaneException exception) when (!connection.Stopping.IsCancellationRequested)
            {
                stopping.ThrowIfCancellationRequested();
                logger.Retrying(exception.Message);
            }
        }
    }
}
