using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>
/// Tests the groups that a client may join and publish to. No other class uses /ws at the same time, so the class can count
/// the connections of /ws.
/// </summary>
[Collection<WsCollection>]
public sealed class GroupAuthorizationTests(DemoServer server)
{
    const string Subprotocol = "json.webpubsub.azure.v1";

    [Theory]
    [InlineData("blue")]
    [InlineData("ws")]
    [InlineData("Grüße, 🛰")]
    public async Task JoinAndSend_NameWithoutSlash_IsAllowed(string group)
    {
        using var ann = await ConnectAsync("/ws");
        using var ben = await ConnectAsync("/ws");
        Assert.Null(await RequestAsync(ann, "joinGroup", group));
        Assert.Equal(1, await server.CountAsync(group));
        // A client may publish to a group that it has not joined.
        Assert.Null(await RequestAsync(ben, "sendToGroup", group));
        var message = await ann.ReceiveJsonAsync();
        Assert.Equal((group, "hello"), (message.GetProperty("group").GetString(), message.GetProperty("data").GetString()));
    }

    [Theory]
    [InlineData("/")]
    [InlineData("/ws")]
    [InlineData("/ws/")]
    [InlineData("/WS")]
    [InlineData("/rooms/blue")]
    [InlineData("/prices")]
    [InlineData("/board")]
    [InlineData("/board/cursors")]
    [InlineData("/nowhere")]
    [InlineData(" /ws")]
    [InlineData("a/b")]
    public async Task Join_GroupOfUrl_IsForbidden(string group)
    {
        using var ann = await ConnectAsync("/ws");
        await server.WaitForCountAsync("/ws", 1);
        // The connections of an earlier class may not have ended yet.
        if (group != "/ws") await server.WaitForCountAsync(group, 0);
        Assert.Equal("Forbidden", await RequestAsync(ann, "joinGroup", group));
        Assert.Equal(group == "/ws" ? 1 : 0, await server.CountAsync(group));
    }

    [Theory]
    [InlineData("/")]
    [InlineData("/ws/")]
    [InlineData("/WS")]
    [InlineData("/rooms/blue")]
    [InlineData("/seed")]
    [InlineData("/prices")]
    [InlineData("/board")]
    [InlineData("/board/cursors")]
    [InlineData("shop/ws")]
    public async Task Send_ToGroupOfOtherUrl_IsForbidden(string group)
    {
        using var ann = await ConnectAsync("/ws");
        Assert.Equal("Forbidden", await RequestAsync(ann, "sendToGroup", group));
    }

    [Fact]
    public async Task Send_ToForbiddenGroup_IsNotDelivered()
    {
        using var ann = await ConnectAsync("/ws");
        using var room = await server.ConnectAsync("/rooms/quiet");
        await server.WaitForCountAsync("/rooms/quiet", 1);
        Assert.Equal("Forbidden", await RequestAsync(ann, "sendToGroup", "/rooms/quiet"));
        await room.SendTextAsync("alone");
        Assert.Equal("alone", await room.ReceiveTextAsync());
    }

    [Fact]
    public async Task Send_ToGroupOfOwnUrl_IsAllowed()
    {
        // The connections of earlier tests may not have ended yet.
        await server.WaitForCountAsync("/ws", 0);
        using var ann = await ConnectAsync("/ws");
        using var ben = await server.ConnectAsync("/ws");
        await server.WaitForCountAsync("/ws", 2);
        await ann.SendTextAsync("""{"type":"sendToGroup","group":"/ws","dataType":"text","data":"hello"}""");
        Assert.Equal("hello", await ben.ReceiveTextAsync());
        Assert.Equal("/ws", (await ann.ReceiveJsonAsync()).GetProperty("group").GetString());
    }

    [Theory]
    [InlineData("joinGroup", "blue")]
    [InlineData("joinGroup", "/ws")]
    [InlineData("joinGroup", "/rooms/other")]
    [InlineData("sendToGroup", "blue")]
    [InlineData("sendToGroup", "/ws")]
    [InlineData("sendToGroup", "/rooms/other")]
    public async Task JoinOrSend_AtOtherUrl_IsForbidden(string type, string group)
    {
        using var ann = await ConnectAsync("/rooms/structured");
        Assert.Equal("Forbidden", await RequestAsync(ann, type, group));
    }

    async Task<ClientWebSocket> ConnectAsync(string path)
    {
        var socket = await server.ConnectAsync(path, Subprotocol);
        Assert.Equal("connected", (await socket.ReceiveJsonAsync()).GetProperty("event").GetString());
        return socket;
    }

    /// <summary>Sends a request. Returns the name of the error, or null if the request succeeds.</summary>
    static async Task<string?> RequestAsync(ClientWebSocket socket, string type, string group)
    {
        await socket.SendTextAsync(JsonSerializer.Serialize(new { type, group, dataType = "text", data = "hello", ackId = 1 }));
        var ack = await socket.ReceiveJsonAsync();
        Assert.Equal("ack", ack.GetProperty("type").GetString());
        return ack.GetProperty("success").GetBoolean() ? null : ack.GetProperty("error").GetProperty("name").GetString();
    }
}
