using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>
/// Tests that /board rejects invalid messages. The class needs its own server, because a server has only one board.
/// </summary>
public sealed class BoardMessageTests(DemoServer server) : IClassFixture<DemoServer>
{
    const string InvalidMessage =
        "The message is invalid. Send a stroke with points, or clear. Coordinates are 0 to 2000.";

    [Theory]
    [InlineData("hello")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("""{"type":"shout"}""")]
    [InlineData("""{"type":"stroke"}""")]
    [InlineData("""{"type":"stroke","points":[]}""")]
    [InlineData("""{"type":"stroke","points":[1,2,3]}""")]
    [InlineData("""{"type":"stroke","points":[1,2001]}""")]
    [InlineData("""{"type":"stroke","points":[1,-1]}""")]
    [InlineData("""{"type":"stroke","points":["1","2"]}""")]
    [InlineData("""{"type":"cursor","x":1,"y":2}""")]
    [InlineData("""{"type":"you"}""")]
    [InlineData("large")]
    public async Task Send_InvalidMessage_ClosesSenderWithReason(string message)
    {
        using var socket = await server.ConnectAsync("/board");
        if (message == "large") message = $$"""{"type":"stroke","points":[{{string.Join(',', Enumerable.Repeat("1000", 258))}}]}""";
        Assert.Equal("you", (await socket.ReceiveJsonAsync()).GetProperty("type").GetString());
        await socket.SendTextAsync(message);
        await socket.AssertClosedAsync(WebSocketCloseStatus.PolicyViolation, InvalidMessage);
    }
}
