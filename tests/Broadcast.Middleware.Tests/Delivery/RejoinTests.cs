
namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests a connection that leaves a group and joins it again before the server has sent pending messages.</summary>
public sealed class RejoinTests
{
    [Fact]
    public async Task Rejoin_WithPendingMessages_DeliversPendingMessagesAndReplay()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g", replayOnJoin: 2));
        var listener = new Listener(broadcast);
        listener.Join("/g");
        broadcast.RunUntilIdle();
        foreach (var id in RecoveryHelpers.Range(1, 3)) broadcast.Publish("/g", id);
        listener.Leave("/g");
        listener.Join("/g");
        broadcast.Publish("/g", 4);

        // The timeout ends the test if the pump never becomes idle.
        await Task.Run(broadcast.RunUntilIdle, TestContext.Current.CancellationToken).WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

        listener.AssertNoViolation();
        Assert.Equal([1, 2, 2, 3, 3, 4], listener.Got.Order());
    }
}
