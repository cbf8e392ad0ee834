
namespace Broadcast.Middleware.Tests.Presence;

/// <summary>Tests the memory that presence uses. No other test runs in parallel, because this test measures memory.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class PresenceMemoryTests
{
    const string Group = "/rooms/blue";

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Watcher_ManyUnreadMemberChanges_KeepsMemoryBounded()
    {
        using var stage = new TestEngine();
        var (presence, states) = (stage.Presence, stage.States);
        var stays = stage.Connect(stage.Pumps[0], Group, new ManualSink());
        await using var watch = presence.WatchAsync(Group, Token).GetAsyncEnumerator(Token);
        Assert.True(await watch.MoveNextAsync());
        var before = GC.GetTotalMemory(forceFullCollection: true);

        for (var i = 0; i < 50_000; i++)
        {
            // A connection that joins and leaves the group causes the same calls.
            states.OnJoined(stays, Group);
            var other = stage.Admit(stage.Pumps[0], Group);
            states.OnJoined(other, Group);
            states.OnLeft(other, Group);
            stage.Remove(other);
        }

        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, 2_000_000);
        stage.Remove(stays);
        Assert.True(await watch.MoveNextAsync());
        Assert.Equal((PresenceChangeKind.Left, stays.Id), (watch.Current.Kind, watch.Current.Member.ConnectionId));
    }
}
