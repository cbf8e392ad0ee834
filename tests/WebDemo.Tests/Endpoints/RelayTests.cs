using System.Net.WebSockets;
using System.Text;

namespace WebDemo.Tests;

/// <summary>Tests messages between clients at /ws and in rooms. No other class uses /ws at the same time.</summary>
[Collection<WsCollection>]
public sealed class RelayTests(DemoServer server)
{
    public static TheoryData<string, WebSocketMessageType, byte[]> Messages => new()
    {
        { "text", WebSocketMessageType.Text, "hello"u8.ToArray() },
        { "text beyond ASCII", WebSocketMessageType.Text, "Grüße, 你好, 🛰"u8.ToArray() },
        { "empty text", WebSocketMessageType.Text, [] },
        { "64 KiB of text", WebSocketMessageType.Text, Encoding.UTF8.GetBytes(new string('€', 21845) + "!") },
        { "every byte", WebSocketMessageType.Binary, [.. Enumerable.Range(0, 256).Select(number => (byte)number)] },
        { "no byte", WebSocketMessageType.Binary, [] },
        { "64 KiB of bytes", WebSocketMessageType.Binary, [.. Enumerable.Range(0, 65536).Select(number => (byte)(number * 31 >> 3))] },
    };

    [Theory, MemberData(nameof(Messages))]
    public async Task Send_TextOrBinary_ReachesAllClientsIncludingSenderUnchanged(string name, WebSocketMessageType type, byte[] bytes)
    {
        var group = $"/rooms/{name}";
        using var one = await server.ConnectAsync(group);
        using var two = await server.ConnectAsync(group);
        await server.WaitForCountAsync(group, 2);
        await one.SendAsync(bytes, type, true, TestContext.Current.CancellationToken);
        foreach (var socket in new[] { one, two })
        {
            var received = await socket.ReceiveMessageAsync();
            Assert.Equal(type, received.Type);
            Assert.Equal(bytes, received.Bytes);
        }
    }

    [Fact]
    public async Task Send_TextThenBinary_ArrivesInOrder()
    {
        using var one = await server.ConnectAsync("/ws");
        using var two = await server.ConnectAsync("/ws");
        await server.WaitForCountAsync("/ws", 2);
        await one.SendTextAsync("first");
        await one.SendBinaryAsync(0, 255);
        foreach (var socket in new[] { one, two })
        {
            Assert.Equal("first", await socket.ReceiveTextAsync());
            var (type, bytes) = await socket.ReceiveMessageAsync();
            Assert.Equal(WebSocketMessageType.Binary, type);
            Assert.Equal([0, 255], bytes);
        }
    }

    [Fact]
    public async Task Send_InRoom_DoesNotReachOtherRoom()
    {
        using var blue = await server.ConnectAsync("/rooms/relay-blue");
        using var green = await server.ConnectAsync("/rooms/relay-green");
        await server.WaitForCountAsync("/rooms/relay-blue", 1);
        await server.WaitForCountAsync("/rooms/relay-green", 1);
        await blue.SendTextAsync("for blue");
        Assert.Equal("for blue", await blue.ReceiveTextAsync());
        await green.SendTextAsync("for green");
        Assert.Equal("for green", await green.ReceiveTextAsync());
    }
}
