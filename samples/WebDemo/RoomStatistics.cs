using System.Runtime.CompilerServices;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Http.HttpResults;

namespace WebDemo;

/// <summary>
/// Counts the messages and words of a chat room: <c>curl -N localhost:5000/rooms/blue/statistics</c>. The counts begin
/// with the history of the room. Each new message causes a server-sent event with the new counts.
/// </summary>
static class RoomStatistics
{
    public static Results<ServerSentEventsResult<string>, BadRequest<string>> Get(
        string room, IBroadcaster broadcaster, CancellationToken cancellationToken)
    {
        try
        {
            var options = new ReadOptions { SlowConsumer = SlowConsumer.SkipToLatest };
            var items = broadcaster.ReadAsync($"/rooms/{room}", options, cancellationToken);
            return TypedResults.ServerSentEvents(CountAsync(items, cancellationToken), "statistics");
        }
        catch (ArgumentException exception)
        {
            return TypedResults.BadRequest(exception.Message);
        }
    }

    static async IAsyncEnumerable<string> CountAsync(
        IAsyncEnumerable<ReceivedMessage> items, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var (messages, words, isExact) = (0L, 0L, true);
        await foreach (var item in items.WithCancellation(cancellationToken))
        {
            if (item.IsGap)
            {
                messages += item.MissedMessages ?? 0;
                isExact = false;
            }
            else
            {
                messages++;
                words += item.ToString().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length;
            }

            var about = isExact ? "" : "at least ";
            yield return $"messages: {about}{messages}, words: {about}{words}";
        }
    }
}
