using Broadcast.Middleware;
using Broadcast.Middleware.Testing;

namespace WebDemo.Tests;

/// <summary>Tests the group of the mouse cursors without a server.</summary>
public sealed class CursorGroupTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Disconnect_AfterSuccessfulOrFailedRemoval_CursorIsRemovedOnce(bool isFailing)
    {
        var test = new FilterTest(new CursorFilter());
        await test.ConnectAsync(static request => request.Request.QueryString = new("?name=Ann"));
        await test.SendAsync("7");
        if (isFailing) test.Broadcaster.Failure = new BackplaneException("The other nodes are unreachable.");
        var removal = await Record.ExceptionAsync(() => test.SendAsync("none"));
        Assert.Equal(isFailing, removal is BackplaneException);
        test.Broadcaster.Failure = null;
        await test.DisconnectAsync();
        Assert.Equal([false, true], test.Broadcaster.Publishes.Select(static publish => publish.Message.RemoveKey));
    }

    /// <summary>Moves the cursor to a position. Removes the cursor if the message is not a number.</summary>
    sealed class CursorFilter : IBroadcastFilter
    {
        readonly CursorGroup _cursors = new("/cursors");

        public Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next) => _cursors.JoinAsync(context, next);

        public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
        {
            int? position = int.TryParse(context.Text, out var number) ? number : null;
            return _cursors.MoveAsync(context, next, position, position);
        }

        public Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next) => _cursors.LeaveAsync(context, next);
    }
}
