using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests how the server ends or refuses an event stream. The answer decides whether a browser reconnects.
/// </summary>
public sealed class EventStreamCloseTests
{
    static readonly (string, string?) Accept = ("Accept", "text/event-stream");

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1000, true)]
    [InlineData(1008, true)]
    [InlineData(4001, true)]
    [InlineData(1001, false)]
    [InlineData(1012, false)]
    [InlineData(1013, false)]
    public async Task CloseAsync_EventStream_StopsReconnectsUnlessCodeAsksForReconnect(int code, bool isFinal)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await EventClient.OpenAsync(app);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, (WebSocketCloseStatus)code, "bye", Token);

        var (events, end) = await client.ReadToEndAsync();

        Assert.Equal(TransportEnd.Finished, end);
        Assert.Equal(("close", $"{code} bye"), (events[^1].Type, events[^1].Data));
        Assert.Equal(isFinal, events[^1].Id == "closed");
        await using var returned = await EventClient.AskAsync(app, headers: [Accept, ("Last-Event-ID", client.LastEventId)]);
        Assert.Equal(isFinal ? 204 : 200, returned.Status);
    }

    [Fact]
    public async Task Reconnect_ClosedIdInQuery_IsAnsweredWithStatus204()
    {
        await using var app = await BroadcastApp.StartAsync();

        await using var client = await EventClient.AskAsync(app, "/ws?lastEventId=closed", headers: Accept);

        Assert.Equal(204, client.Status);
        Assert.Equal(0, app.Registry.Count);
    }

    [Theory]
    [InlineData(null, 403)]
    [InlineData(1000, 204)]
    [InlineData(1008, 403)]
    [InlineData(4001, 403)]
    [InlineData(1013, 200)]
    public async Task ConnectFilter_RejectsEventStream_AnswersWithStatusForCloseCode(int? code, int status)
    {
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").UseConnect((context, _) =>
        {
            if (code is { } own) context.Close((WebSocketCloseStatus)own, "no");
            return Task.CompletedTask;
        }));
        using var meters = new Meters(app);

        await using var client = await EventClient.AskAsync(app, headers: Accept);

        Assert.Equal(status, client.Status);
        if (status == 403) Assert.Equal(code is null ? "The server rejected the connection.\n" : "no\n", await client.ReadTextAsync());
        if (status == 200) Assert.Equal("1013 no", await client.ReadCloseAsync());
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["closed_by_app"]);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task ConnectFilter_RejectsAfterReply_SendsReplyAndFinalClose()
    {
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").UseConnect(
            async (context, _) => await context.ReplyAsync("reason")));

        await using var client = await EventClient.AskAsync(app, headers: Accept);

        Assert.Equal(200, client.Status);
        var (events, _) = await client.ReadToEndAsync();
        Assert.Equal(["reason", "1008 The server rejected the connection."], events.Select(next => next.Data));
        Assert.Equal("closed", events[^1].Id);
    }

    [Fact]
    public async Task ConnectFilter_Throws_SendsCloseEventThatAllowsReconnect()
    {
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").UseConnect(
            static (_, _) => throw new InvalidOperationException("boom")));

        await using var client = await EventClient.AskAsync(app, headers: Accept);

        var (events, _) = await client.ReadToEndAsync();
        Assert.StartsWith("1011 ", Assert.Single(events).Data, StringComparison.Ordinal);
        Assert.NotEqual("closed", events[0].Id);
    }

    [Fact]
    public async Task EventStreamRetryDelay_Set_IsSentOnceAtTheStart()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.EventStreamRetryDelay = TimeSpan.FromMilliseconds(1500));
        using var http = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri($"http://localhost:{app.Port}/ws"));
        request.Headers.Add("Accept", "text/event-stream");
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Token);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(Token));

        Assert.Equal("retry: 1500", await reader.ReadLineAsync(Token));
        Assert.Equal("", await reader.ReadLineAsync(Token));
        Assert.StartsWith("id: ", await reader.ReadLineAsync(Token), StringComparison.Ordinal);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, cancellationToken: Token);
        Assert.DoesNotContain("retry", await reader.ReadToEndAsync(Token), StringComparison.Ordinal);
    }
}
