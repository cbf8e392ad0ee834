using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>A connection that leaves a group and rejoins it before pending messages are sent.</summary>
public sealed class RejoinTests
{
    [Fact]
    public async Task Rejoin_WithPendingMessages_DeliversThemAndTheReplay()
    {
        using var stage = new Stage(configure: Act.History("/g", replayOnJoin: 2));
        var hearer = new Hearer(stage);
        hearer.Join("/g");
        stage.RunUntilIdle();
        foreach (var id in Act.Range(1, 3)) stage.Publish("/g", id);
        hearer.Leave("/g");
        hearer.Join("/g");
        stage.Publish("/g", 4);

        // The timeout stops the test when the pump never becomes idle.
        await Task.Run(stage.RunUntilIdle, TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);

        hearer.AssertSound();
        Assert.Equal([1, 2, 2, 3, 3, 4], hearer.Got.Order());
    }
}
