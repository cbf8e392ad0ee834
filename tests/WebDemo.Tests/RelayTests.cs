using System.Net.WebSockets;
using System.Text;

namespace WebDemo.Tests;

public sealed class RelayTests(Demo demo) : IClassFixture<Demo>
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
    public async Task What_one_sends_all_receive_byte_for_byte_the_sender_too(string what, WebSocketMessageType type, byte[] bytes)
    {
        var group = $"/rooms/{what}";
        using var one = await demo.ConnectAsync(group);
        using var two = await demo.ConnectAsync(group);
        await demo.WaitForCountAsync(group, 2);
        await one.SendAsync(bytes, type, true, TestContext.Current.CancellationToken);
        foreach (var socket in new[] { one, two })
        {
            var received = await socket.ReceiveAsync();
            Assert.Equal(type, received.Type);
            Assert.Equal(bytes, received.Bytes);
        }
    }

    [Fact]
    public async Task The_relay_at_ws_has_one_group_and_takes_text_and_binary_in_order()
    {
        using var one = await demo.ConnectAsync("/ws");
        using var two = await demo.ConnectAsync("/ws");
        await demo.WaitForCountAsync("/ws", 2);
        await one.SendAsync("first");
        await one.SendAsync(new byte[] { 0, 255 }, WebSocketMessageType.Binary, true, TestContext.Current.CancellationToken);
        foreach (var socket in new[] { one, two })
        {
            Assert.Equal("first", await socket.ReceiveTextAsync());
            var (type, bytes) = await socket.ReceiveAsync();
            Assert.Equal(WebSocketMessageType.Binary, type);
            Assert.Equal([0, 255], bytes);
        }
    }

    [Fact]
    public async Task Rooms_do_not_hear_each_other()
    {
        using var blue = await demo.ConnectAsync("/rooms/blue");
        using var green = await demo.ConnectAsync("/rooms/green");
        await demo.WaitForCountAsync("/rooms/blue", 1);
        await demo.WaitForCountAsync("/rooms/green", 1);
        await blue.SendAsync("for blue");
        Assert.Equal("for blue", await blue.ReceiveTextAsync());
        await green.SendAsync("for green");
        Assert.Equal("for green", await green.ReceiveTextAsync());
    }
}
