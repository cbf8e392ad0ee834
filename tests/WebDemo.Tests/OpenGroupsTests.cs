using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Which groups clients of the demo may join and publish to by themselves.</summary>
public sealed class OpenGroupsTests(Demo demo) : IClassFixture<Demo>
{
    const string Subprotocol = "json.webpubsub.azure.v1";

    [Theory]
    [InlineData("blue")]
    [InlineData("a/b")]
    [InlineData("ws")]
    [InlineData(" /ws")]
    [InlineData("Grüße, 🛰")]
    public async Task At_ws_a_name_that_is_no_urls_is_free_to_join_and_to_publish_to(string group)
    {
        using var ann = await ConnectAsync("/ws");
        using var ben = await ConnectAsync("/ws");
        Assert.Null(await AskAsync(ann, "joinGroup", group));
        Assert.Equal(1, await demo.CountAsync(group));
        // One need not be in it.
        Assert.Null(await AskAsync(ben, "sendToGroup", group));
        var message = await ReadAsync(ann);
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
    public async Task The_groups_of_urls_are_joined_at_their_urls_only(string group)
    {
        using var ann = await ConnectAsync("/ws");
        await demo.WaitForCountAsync("/ws", 1);
        Assert.Equal("Forbidden", await AskAsync(ann, "joinGroup", group));
        Assert.Equal(group == "/ws" ? 1 : 0, await demo.CountAsync(group));
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
    public async Task Nobody_gets_round_another_urls_filters(string group)
    {
        using var ann = await ConnectAsync("/ws");
        Assert.Equal("Forbidden", await AskAsync(ann, "sendToGroup", group));
    }

    [Fact]
    public async Task Who_is_refused_is_not_heard()
    {
        using var ann = await ConnectAsync("/ws");
        using var room = await demo.ConnectAsync("/rooms/quiet");
        await demo.WaitForCountAsync("/rooms/quiet", 1);
        Assert.Equal("Forbidden", await AskAsync(ann, "sendToGroup", "/rooms/quiet"));
        await room.SendAsync("alone");
        Assert.Equal("alone", await room.ReceiveTextAsync());
    }

    [Fact]
    public async Task The_group_of_the_own_url_may_be_published_to()
    {
        // Those of the tests before may not have been seen to leave.
        await demo.WaitForCountAsync("/ws", 0);
        using var ann = await ConnectAsync("/ws");
        using var ben = await demo.ConnectAsync("/ws");
        await demo.WaitForCountAsync("/ws", 2);
        await ann.SendAsync("""{"type":"sendToGroup","group":"/ws","dataType":"text","data":"hello"}""");
        Assert.Equal("hello", await ben.ReceiveTextAsync());
        Assert.Equal("/ws", (await ReadAsync(ann)).GetProperty("group").GetString());
    }

    [Theory]
    [InlineData("joinGroup", "blue")]
    [InlineData("joinGroup", "/ws")]
    [InlineData("joinGroup", "/rooms/other")]
    [InlineData("sendToGroup", "blue")]
    [InlineData("sendToGroup", "/ws")]
    [InlineData("sendToGroup", "/rooms/other")]
    public async Task At_other_urls_there_are_no_groups_to_join_or_publish_to(string type, string group)
    {
        using var ann = await ConnectAsync("/rooms/structured");
        Assert.Equal("Forbidden", await AskAsync(ann, type, group));
    }

    async Task<ClientWebSocket> ConnectAsync(string path)
    {
        var socket = await demo.ConnectAsync(path, Subprotocol);
        Assert.Equal("connected", (await ReadAsync(socket)).GetProperty("event").GetString());
        return socket;
    }

    /// <summary>Null, or the name of the error.</summary>
    static async Task<string?> AskAsync(ClientWebSocket socket, string type, string group)
    {
        await socket.SendAsync(JsonSerializer.Serialize(new { type, group, dataType = "text", data = "hello", ackId = 1 }));
        var ack = await ReadAsync(socket);
        Assert.Equal("ack", ack.GetProperty("type").GetString());
        return ack.GetProperty("success").GetBoolean() ? null : ack.GetProperty("error").GetProperty("name").GetString();
    }

    static async Task<JsonElement> ReadAsync(ClientWebSocket socket) => JsonSerializer.Deserialize<JsonElement>(await socket.ReceiveTextAsync());
}
