using System.Net;
using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Tests the figures and cursors of the start page.</summary>
public sealed class StartPageTests
{
    [Fact]
    public async Task Figures_LanIsDisabled_CountPagesAndDeliveriesWithoutPhoneUrl()
    {
        await using var server = await DemoServer.CreateAsync();
        using var chat = await server.ConnectAsync("/rooms/typing");
        using var typing = await server.ConnectAsync("/rooms/typing/typing");
        using var throttled = await server.ConnectAsync("/prices/throttled");
        using var prices = await server.ConnectAsync("/prices");
        using var ticker = await server.ConnectAsync("/prices");
        await server.WaitForCountAsync("/prices", 2);
        // The server publishes the first figures after this connection. Three pages are open: chat, throttled prices and start.
        using var visitor = await server.ConnectAsync("/live");
        JsonElement figures;
        do
        {
            figures = await visitor.ReceiveJsonAsync();
            Assert.Equal(3, GetPeople(figures));
        }
        while (figures.GetProperty("messagesPerSecond").GetInt64() == 0 || !figures.TryGetProperty("p99", out _));
        Assert.False(figures.TryGetProperty("phoneUrl", out _));
        using var code = await server.Http.GetAsync("/phone.svg", TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.NotFound, code.StatusCode);
    }

    [Fact]
    public async Task Connect_LateVisitor_FirstReceivesRetainedFiguresAndCursor()
    {
        // With Conflate, newer figures can replace the retained figures before the server sends them.
        await using var server = await DemoServer.CreateAsync("--Local:SlowConsumer=Disconnect");
        using var ann = await server.ConnectAsync("/live?name=Ann");
        using var ben = await server.ConnectAsync("/live?name=Ben");
        await ann.SendBinaryAsync(1, 0, 2, 0);
        Assert.Equal("Ann", (await ReceiveCursorAsync(ben)).GetProperty("name").GetString());
        await ben.ReceiveUntilAsync(static message => GetPeople(message) == 2);

        using var late = await server.ConnectAsync("/live?name=Cem", "positions.broadcast.v1");
        var (newest, figures, name) = ((string?)null, (string?)null, (string?)null);
        while (newest is null || figures is null || name is null)
        {
            var (header, payload) = await ReceiveFrameAsync(late);
            if (payload == "") newest = header.Split(' ')[^1];
            else if (JsonSerializer.Deserialize<JsonElement>(payload) is var message && GetPeople(message) is not null) figures ??= header;
            else name ??= message.GetProperty("name").GetString();
        }

        // The first figures have the newest position of the group at the join, so they are older than the join.
        Assert.Equal((newest, "Ann"), (figures, name));
    }

    [Fact]
    public async Task Move_CursorGroupIsFull_KeepsVisitorConnected()
    {
        await using var server = await DemoServer.CreateAsync("--Local:Groups:/live/cursors:MaxRetainedKeys=1");
        using var ann = await server.ConnectAsync("/live?name=Ann");
        using var ben = await server.ConnectAsync("/live?name=Ben");
        await ann.SendBinaryAsync(1, 0, 2, 0);
        Assert.Equal("Ann", (await ReceiveCursorAsync(ben)).GetProperty("name").GetString());
        await ben.SendBinaryAsync(3, 0, 4, 0);
        // Ann receives only the next message of Ben, which removes his cursor.
        await ben.SendBinaryAsync();
        var left = await ReceiveCursorAsync(ann);
        Assert.Equal(("Ben", false), (left.GetProperty("name").GetString(), left.TryGetProperty("x", out _)));
        await ann.SendBinaryAsync(5, 0, 6, 0);
        Assert.Equal(5, (await ReceiveCursorAsync(ben)).GetProperty("x").GetInt32());
    }

    static int? GetPeople(JsonElement message) => message.TryGetProperty("people", out var people) ? people.GetInt32() : null;

    /// <summary>Receives the next frame of the subprotocol with positions.</summary>
    static async Task<(string Header, string Payload)> ReceiveFrameAsync(ClientWebSocket visitor)
    {
        var frame = (await visitor.ReceiveTextAsync()).Split('\n', 2);
        return (frame[0], frame[1]);
    }

    /// <summary>Receives the next message about a cursor.</summary>
    static Task<JsonElement> ReceiveCursorAsync(ClientWebSocket visitor) =>
        visitor.ReceiveUntilAsync(static message => message.TryGetProperty("id", out _));
}
