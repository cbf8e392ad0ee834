using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Storage;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Publishing;

/// <summary>Publishes batches with the script <see cref="Scripts.Publish"/>.</summary>
/// <param name="connection">The connection to Redis.</param>
/// <param name="node">The name under which Redis stores the last batch of this node.</param>
/// <param name="repairWindow">The messages that Redis keeps for other nodes.</param>
/// <param name="publishTimeout">See <see cref="RedisBackplaneOptions.PublishTimeout"/>.</param>
/// <param name="retries">True if the publisher sends a batch again when Redis does not answer.</param>
/// <param name="metrics">The metrics.</param>
/// <param name="onAcknowledged">
/// Receives the group, the epoch, the last offset and the tag of each batch that Redis has acknowledged.
/// </param>
sealed class BatchPublisher(
    RedisConnection connection, string node, RepairWindow repairWindow, TimeSpan publishTimeout, bool retries,
    RedisMetrics metrics, Action<string, string, long, string> onAcknowledged)
{
    // The index of the script argument that contains the retention of the retained values. The first index is 0.
    const int RetentionArgument = 17;

    // The script returns this number if a message would exceed the maximum number of retained values.
    const int MaxKeysArgument = 20;

    static readonly TimeSpan MinBatchMemory = TimeSpan.FromMinutes(1);

    // The time for which Redis remembers the last batch of a node. During this time, the node may repeat the batch.
    readonly string _batchMemory = Scripts.FormatMilliseconds(
        publishTimeout * 2 > MinBatchMemory ? publishTimeout * 2 : MinBatchMemory);
    long _lastNumber;

    /// <summary>
    /// Publishes a batch and returns the position of its first message that is not transient. If all messages of the
    /// batch are transient, the position has no meaning. Returns null if the group cannot retain some of the messages:
    /// see <see cref="OutboxEntry.Refusal"/>. Redis has then published nothing.
    /// </summary>
    public async Task<Position?> PublishAsync(
        string group, List<OutboxEntry> batch, long deadline, Action<string> onRetry)
    {
        var count = batch.Count(static entry => !entry.IsTransient);
        var (body, bytes, history) = Encode(batch, includesTransient: false);
        var keys = (await connection.GetKeySpaceAsync(deadline)).ForGroup(group);
        // Each batch of a node has a higher number than the previous batch. So Redis detects a batch that arrives after
        // a later batch.
        var number = Interlocked.Increment(ref _lastNumber);
        var historyAge = Scripts.FormatAge(history?.HistoryAge ?? Timeout.InfiniteTimeSpan);
        RedisValue[] arguments =
        [
            Epoch.Create(), keys.FullChannel, node, number, count, bytes, body,
            repairWindow.Messages, repairWindow.Bytes, Scripts.FormatMilliseconds(repairWindow.Age),
            history?.HistoryMessages ?? 0, history?.HistoryBytes ?? 0, historyAge,
            Scripts.FormatMilliseconds(repairWindow.GetRetention(history)), _batchMemory,
        ];
        RedisKey[] scriptKeys = [keys.State, keys.Stream, keys.Index];
        var once = batch[0].Once;
        if (count < batch.Count)
        {
            arguments = [.. arguments, Encode(batch, includesTransient: true).Body];
        }
        else if (once is not null)
        {
            arguments = [.. arguments, RedisValue.EmptyString, Scripts.FormatMilliseconds(once.Window)];
            scriptKeys = [.. scriptKeys, keys.MessageId(once.Id)];
        }

        if (history is { RetainLatestPerKey: true })
        {
            while (arguments.Length < RetentionArgument) arguments = [.. arguments, RedisValue.EmptyString];
            arguments =
            [
                .. arguments, Scripts.FormatMilliseconds(repairWindow.GetStateRetention(history)),
                .. GetRetainedArguments(batch, history),
            ];
            scriptKeys = [.. scriptKeys, keys.Retained];
        }

        var result = await connection.RunScriptAsync(
            Scripts.Publish, scriptKeys, arguments, deadline, retries, onRetry);
        if ((string?)result[0] == Scripts.Refused)
        {
            MarkRefused(batch, history!, result);
            return null;
        }

        var (epoch, last) = ((string)result[0]!, (long)result[1]);
        if (result.Length == 2)
        {
            once!.IsDuplicate = true;
            return new Position(Epoch.Parse(epoch), last);
        }

        if (count > 0) onAcknowledged(group, epoch, last, (string)result[2]!);
        metrics.Published(batch.Count);
        return new Position(Epoch.Parse(epoch), last - count + 1);
    }

    /// <summary>
    /// Returns the last arguments of the script, starting with the number of messages that have a key.
    /// </summary>
    static List<RedisValue> GetRetainedArguments(List<OutboxEntry> batch, GroupOptions limits)
    {
        List<RedisValue> arguments = [0, limits.MaxRetainedKeys, limits.MaxRetainedBytes];
        var (end, number, count) = (0, 0, 0);
        foreach (var entry in batch)
        {
            if (entry.IsTransient) continue;
            number++;
            end += Batch.GetEncodedSize(entry.Message.Length);
            if (entry.Key is not { } key) continue;
            count++;
            // Lua counts bytes from 1.
            arguments.Add(key.Name);
            arguments.Add(key.IsRemoved ? 0 : end - entry.Message.Length + 1);
            arguments.Add(end);
            arguments.Add(number);
        }

        arguments[0] = count;
        return arguments;
    }

    static void MarkRefused(List<OutboxEntry> batch, GroupOptions limits, RedisResult result)
    {
        var numbered = batch.FindAll(static entry => !entry.IsTransient);
        for (var i = 1; i + 1 < result.Length; i += 2)
        {
            numbered[(int)result[i] - 1].Refusal = (int)result[i + 1] == MaxKeysArgument
                ? $"The group would have more keys than {nameof(GroupOptions.MaxRetainedKeys)}, which is " +
                  $"{limits.MaxRetainedKeys}. Remove a key with {nameof(Message)}.{nameof(Message.RemoveKey)}, " +
                  "publish the message without a key, or raise the option."
                : $"The retained values would have more bytes than {nameof(GroupOptions.MaxRetainedBytes)}, which " +
                  $"is {limits.MaxRetainedBytes}. Publish a shorter message, remove a key with " +
                  $"{nameof(Message)}.{nameof(Message.RemoveKey)}, or raise the option.";
        }
    }

    /// <summary>
    /// Encodes the messages. Also returns the number of bytes without transient messages, and the history options of
    /// the last message that has options.
    /// </summary>
    static (byte[] Body, long Bytes, GroupOptions? History) Encode(List<OutboxEntry> batch, bool includesTransient)
    {
        var size = 0;
        foreach (var entry in batch)
        {
            if (includesTransient || !entry.IsTransient) size += Batch.GetEncodedSize(entry.Message.Length);
        }

        var body = new byte[size];
        var (index, bytes) = (0, 0L);
        GroupOptions? history = null;
        foreach (var entry in batch)
        {
            if (entry.IsTransient)
            {
                if (includesTransient) Batch.AppendTransient(body, ref index, entry.Message);
                continue;
            }

            Batch.Append(body, ref index, entry.Message);
            bytes += entry.Message.Length + Batch.MessageOverhead;
            history = entry.History ?? history;
        }

        return (body, bytes, history);
    }
}
