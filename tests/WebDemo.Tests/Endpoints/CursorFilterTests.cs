using System.Net.WebSockets;
using Broadcast.Middleware;
using Broadcast.Middleware.Testing;

namespace WebDemo.Tests;

/// <summary>Tests the filter of the mouse cursors without a server.</summary>
public sealed class CursorFilterTests
{
    [Theory]
    [InlineData(new byte[] { 1, 2, 3, 4 }, 0x201, 0x403)]
    [InlineData(new byte[] { 255, 255, 0, 0 }, 65_535, 0)]
    public async Task Message_OfFourBytes_PublishesPositionToOtherVisitors(byte[] bytes, int x, int y)
    {
        var test = new FilterTest(new CursorFilter());
        await test.ConnectAsync(static request => request.Request.QueryString = new("?name=Ann"));
        await test.SendAsync(new Message(bytes, MessageType.Binary));
        var (visitor, publish) = (test.Connection, Assert.Single(test.Broadcaster.Publishes));
        var expected = Message.FromJson(new Cursor("cursor", visitor.Id, "Ann", x, y), DemoJson.Default.Cursor) with { Key = visitor.Id };
        Assert.Equal(expected, publish.Message);
        Assert.Equal(Recipients.Group($"{visitor.HomeGroup}/cursors").Except(visitor.Id), publish.Recipients);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(5)]
    public async Task Message_OfOtherLength_ClosesSenderWithReason(int length)
    {
        var test = new FilterTest(new CursorFilter());
        await test.ConnectAsync();
        await test.SendAsync(new Message(new byte[length], MessageType.Binary));
        Assert.Empty(test.Broadcaster.Publishes);
        var close = Assert.Single(test.Broadcaster.Closes);
        Assert.Equal(WebSocketCloseStatus.PolicyViolation, close.Status);
        Assert.Equal("Send the position of a cursor in 4 bytes, or an empty binary message.", close.Reason);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Disconnect_AfterSuccessfulOrFailedRemoval_CursorIsRemovedOnce(bool isFailing)
    {
        var test = new FilterTest(new CursorFilter());
        await test.ConnectAsync(static request => request.Request.QueryString = new("?name=Ann"));
        await test.SendAsync(new Message(new byte[] { 7, 0, 7, 0 }, MessageType.Binary));
        if (isFailing) test.Broadcaster.Failure = new BackplaneException("The other nodes are unreachable.");
        var removal = await Record.ExceptionAsync(() => test.SendAsync(new Message(default, MessageType.Binary)));
        Assert.Equal(isFailing, removal is BackplaneException);
        test.Broadcaster.Failure = null;
        await test.DisconnectAsync();
        Assert.Equal([false, true], test.Broadcaster.Publishes.Select(static publish => publish.Message.RemoveKey));
    }
}
