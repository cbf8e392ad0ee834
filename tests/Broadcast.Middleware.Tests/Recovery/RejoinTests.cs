using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>A connection that leaves a group and comes back to it before it has been sent what was published there.</summary>
public sealed class RejoinTests
{
    [Fact]
    public async Task What_it_was_still_to_get_comes_and_then_what_it_is_to_get_again()
    {
        using var stage = new Stage(configure: Act.History("/g", replayOnJoin: 2));
        var hearer = new Hearer(stage);
        hearer.Join("/g");
        stage.RunUntilIdle();
        foreach (var id in Act.Range(1, 3)) stage.Publish("/g", id);
        hearer.Leave("/g");
        hearer.Join("/g");
        stage.Publish("/g", 4);

        // A pump that does not come to an end is not to hold up the tests.
        await Task.Run(stage.RunUntilIdle, TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);

        hearer.AssertSound();
        Assert.Equal([1, 2, 2, 3, 3, 4], hearer.Got.Order());
    }
}
