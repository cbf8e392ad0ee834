using System.Text;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>A message that Redis has, and of which nobody was told: as where a connection broke just then.</summary>
static class Unheard
{
    public static Task PublishAsync(IDatabaseAsync database, GroupKeys names, int number, string text, string node = "other", int keepTaken = 60_000, int count = 1)
    {
        var message = Encoding.UTF8.GetBytes(text);
        var body = new byte[count * Batch.SizeOf(message.Length)];
        var at = 0;
        for (var i = 0; i < count; i++) Batch.Append(body, ref at, message);
        return database.ScriptEvaluateAsync(
            Scripts.Publish,
            [names.State, names.Stream, names.Index],
            [Epoch.New(), "nowhere", node, number, count, count * message.Length, body, 1000, 1_000_000, 60_000, 0, 0, 0, 60_000, keepTaken]);
    }
}
