namespace WebDemo.Tests;

/// <summary>Tests the sender in the messages of /board. The class needs its own server, because the board keeps strokes.</summary>
public sealed class BoardSenderTests(DemoServer server) : IClassFixture<DemoServer>
{
    [Fact]
    public async Task Send_ForgedSender_IsReplacedByActualSender()
    {
        using var one = await server.ConnectAsync("/board");
        using var two = await server.ConnectAsync("/board");
        var id = (await one.ReceiveJsonAsync()).GetProperty("id").GetString();
        await two.ReceiveJsonAsync();
        await one.SendTextAsync("""{"type":"stroke","points":[0,0,2000,2000],"id":"another","name":"Another"}""");
        var stroke = await two.ReceiveJsonAsync();
        Assert.Equal(id, stroke.GetProperty("id").GetString());
        Assert.StartsWith("guest ", stroke.GetProperty("name").GetString(), StringComparison.Ordinal);
        Assert.Equal([0, 0, 2000, 2000], stroke.GetProperty("points").EnumerateArray().Select(static number => number.GetInt32()));

        // All clients except the sender receive the cursor. The board retains the latest cursor for clients that join later.
        await one.SendBinaryAsync(1, 0, 2, 0);
        Assert.Equal("cursor", (await two.ReceiveJsonAsync()).GetProperty("type").GetString());
        using var later = await server.ConnectAsync("/board");
        foreach (var type in new[] { "stroke", "cursor", "you" }) Assert.Equal(type, (await later.ReceiveJsonAsync()).GetProperty("type").GetString());

        // The board removes a retained cursor when the cursor leaves the board, and when its client disconnects.
        await one.SendBinaryAsync();
        Assert.Equal("cursor", (await two.ReceiveJsonAsync()).GetProperty("type").GetString());
        await two.SendBinaryAsync(3, 0, 4, 0);
        Assert.False((await later.ReceiveJsonAsync()).TryGetProperty("x", out _));
        Assert.Equal(3, (await later.ReceiveJsonAsync()).GetProperty("x").GetInt32());
        two.Abort();
        Assert.False((await later.ReceiveJsonAsync()).TryGetProperty("x", out _));
        using var last = await server.ConnectAsync("/board");
        foreach (var type in new[] { "stroke", "you" }) Assert.Equal(type, (await last.ReceiveJsonAsync()).GetProperty("type").GetString());
    }

    [Fact]
    public async Task Send_CursorWhileGroupIsFull_KeepsSenderConnected()
    {
        await using var own = await DemoServer.CreateAsync("--Broadcast:Groups:/board/cursors:MaxRetainedKeys=1");
        using var one = await own.ConnectAsync("/board");
        using var two = await own.ConnectAsync("/board");
        foreach (var socket in new[] { one, two }) await socket.ReceiveJsonAsync();
        await one.SendBinaryAsync(1, 0, 2, 0);
        Assert.Equal("cursor", (await two.ReceiveJsonAsync()).GetProperty("type").GetString());
        await two.SendBinaryAsync(3, 0, 4, 0);
        await two.SendTextAsync("""{"type":"stroke","points":[0,0]}""");
        foreach (var socket in new[] { one, two }) Assert.Equal("stroke", (await socket.ReceiveJsonAsync()).GetProperty("type").GetString());
    }
}
