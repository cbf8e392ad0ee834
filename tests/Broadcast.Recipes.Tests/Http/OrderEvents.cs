using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using Broadcast.Middleware;

namespace Broadcast.Recipes.Tests;

/// <summary>Maps a URL that sends the messages of the group <c>/orders</c> as server-sent events.</summary>
static class OrderEvents
{
    public static void MapOrderEvents(this WebApplication app) =>
        app.MapGet("/orders/events", (HttpRequest request, IBroadcaster broadcaster, CancellationToken cancellationToken) =>
            TypedResults.ServerSentEvents(ReadAsync(broadcaster, request.Headers["Last-Event-ID"], cancellationToken)));

    static async IAsyncEnumerable<SseItem<string>> ReadAsync(
        IBroadcaster broadcaster, string? lastEventId, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var options = new ReadOptions { SlowConsumer = SlowConsumer.SkipToLatest };
        if (lastEventId is not null) options.Replay = Replay.After(Position.TryParse(lastEventId, out var last) ? last : default);
        await foreach (var item in broadcaster.ReadAsync("/orders", options, cancellationToken))
        {
            var data = item.IsGap ? "" : item.ToString();
            yield return new(data, item.IsGap ? "missed" : null) { EventId = item.Position?.ToString() };
        }
    }
}
