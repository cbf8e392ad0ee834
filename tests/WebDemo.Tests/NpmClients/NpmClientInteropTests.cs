using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>Tests the published npm client together with raw WebSocket clients. The class needs its own servers for /ws.</summary>
public sealed class NpmClientInteropTests
{
    [Theory]
    [InlineData(NpmClient.Reliable)]
    [InlineData(NpmClient.Plain)]
    public async Task Send_NpmAndRawClients_ReceiveEachOthersMessages(string protocol)
    {
        await using var server = await DemoServer.CreateAsync();
        await using var ann = await NpmClient.ConnectAsync(server.Url, protocol);
        using var raw = await server.ConnectAsync("/ws");
        await server.WaitForCountAsync("/ws", 2);
        await raw.SendTextAsync("hello");
        await raw.SendBinaryAsync(0, 255);
        var text = await ann.NextServerMessageAsync();
        Assert.Equal(("text", "hello"), (text.GetProperty("dataType").GetString(), text.GetProperty("data").GetString()));
        var binary = await ann.NextServerMessageAsync();
        Assert.Equal("binary", binary.GetProperty("dataType").GetString());
        Assert.Equal([0, 255], binary.GetProperty("data").GetProperty("base64").GetBytesFromBase64());
        Assert.Equal("hello", await raw.ReceiveTextAsync());
        Assert.Equal([0, 255], (await raw.ReceiveMessageAsync()).Bytes);

        await ann.CallAsync("sendToGroup", "/ws", "hello yourself", "text");
        await ann.CallAsync("sendToGroup", "/ws", new { a = 1 }, "json");
        await ann.CallAsync("sendToGroup", "/ws", Base64([1, 2]), "binary");
        Assert.Equal("hello yourself", await raw.ReceiveTextAsync());
        Assert.Equal("""{"a":1}""", await raw.ReceiveTextAsync());
        var (type, bytes) = await raw.ReceiveMessageAsync();
        Assert.Equal(WebSocketMessageType.Binary, type);
        Assert.Equal([1, 2], bytes);
    }

    static object Base64(byte[] bytes) => new { base64 = Convert.ToBase64String(bytes) };
}
