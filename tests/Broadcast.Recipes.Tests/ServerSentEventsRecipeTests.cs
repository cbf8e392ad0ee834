using System.Net.ServerSentEvents;

namespace Broadcast.Recipes.Tests;

/// <summary>Runs the recipe for <c>TypedResults.ServerSentEvents</c>.</summary>
public sealed class ServerSentEventsRecipeTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Events_ClientReconnectsWithLastId_ReceivesMissingOrders()
    {
        await using var app = await RecipeApp.StartAsync();
        for (var i = 1; i <= 3; i++) await app.PublishAsync("/orders", $"{i}");
        // An ID that is not a position leads to an event "missed" with the current position.
        var missed = Assert.Single(await ReadAsync(app, "x", 1));
        Assert.Equal("missed", missed.EventType);
        for (var i = 4; i <= 6; i++) await app.PublishAsync("/orders", $"{i}");
        var events = await ReadAsync(app, missed.EventId!, 2);
        Assert.Equal(["4", "5"], events.Select(next => next.Data));
        Assert.Equal("6", Assert.Single(await ReadAsync(app, events[^1].EventId!, 1)).Data);
    }

    static async Task<List<SseItem<string>>> ReadAsync(RecipeApp app, string lastEventId, int count)
    {
        using var client = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{app.Url}/orders/events");
        request.Headers.TryAddWithoutValidation("Last-Event-ID", lastEventId);
        using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Token);
        await using var body = await response.Content.ReadAsStreamAsync(Token);
        var events = new List<SseItem<string>>();
        await foreach (var next in SseParser.Create(body).EnumerateAsync(Token))
        {
            events.Add(next);
            if (events.Count == count) break;
        }

        return events;
    }
}
