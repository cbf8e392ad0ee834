using System.Text;
using Broadcast.Middleware.Redis.Storage;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>
/// Publishes messages to the stream of a group, but by default not to its channel. Such messages simulate messages that
/// are lost on the way to the nodes.
/// </summary>
static class UndeliveredMessage
{
    public static Task PublishAsync(
        IDatabaseAsync database, GroupKeys keys, int batchNumber, string text, string node = "other",
        int batchMemoryMilliseconds = 60_000, int count = 1, byte[]? channel = null)
    {
        var message = Encoding.UTF8.GetBytes(text);
        var body = new byte[count * Batch.GetEncodedSize(message.Length)];
        var index = 0;
        for (var i = 0; i < count; i++) Batch.Append(body, ref index, message);
        return database.ScriptEvaluateAsync(
            Scripts.Publish,
            [keys.State, keys.Stream, keys.Index],
            [
                Epoch.Create(), channel ?? "unused-channel"u8.ToArray(), node, batchNumber, count, count * message.Length, body,
                1000, 1_000_000, 60_000, 0, 0, 0, 60_000, batchMemoryMilliseconds,
            ]);
    }
}
