using Broadcast.Middleware;
using Broadcast.Middleware.Testing;

namespace WebDemo.Tests;

/// <summary>Tests the filter of the mouse cursors without a server.</summary>
public sealed class CursorFilterTests
{
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
