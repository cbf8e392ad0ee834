using System.Net;
using System.Net.ServerSentEvents;

namespace WebDemo.Tests;

/// <summary>Tests the endpoint GET /rooms/{room}/statistics, which reads a room inside the app.</summary>
[Collection<WsCollection>]
public sealed class RoomStatisticsTests(DemoServer server)
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Get_RoomWithHistory_CountsHistoryAndNewMessages()
    {
        await PublishAsync("one");
        await PublishAsync("two more words");
        await using var body = await server.Http.GetStreamAsync("/rooms/counted/statistics", Token);
        await using var events = SseParser.Create(body).EnumerateAsync(Token).GetAsyncEnumerator(Token);
        Assert.Equal("messages: 1, words: 1", await NextAsync());
        Assert.Equal("messages: 2, words: 4", await NextAsync());
        // The reader is not a member of the room.
        Assert.Contains("\"localRecipients\":0", await PublishAsync("live"), StringComparison.Ordinal);
        Assert.Equal("messages: 3, words: 5", await NextAsync());

        async Task<string> NextAsync()
        {
            Assert.True(await events.MoveNextAsync());
            Assert.Equal("statistics", events.Current.EventType);
            return events.Current.Data;
        }
    }

    [Fact]
    public async Task Get_InvalidRoom_IsRefusedWith400()
    {
        using var response = await server.Http.GetAsync("/rooms/a%01b/statistics", Token);
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.Contains("invalid character", await response.Content.ReadAsStringAsync(Token), StringComparison.Ordinal);
    }

    async Task<string> PublishAsync(string text)
    {
        using var response = await server.Http.PostAsync("/publish?group=/rooms/counted", new StringContent(text), Token);
        return await response.Content.ReadAsStringAsync(Token);
    }
}
