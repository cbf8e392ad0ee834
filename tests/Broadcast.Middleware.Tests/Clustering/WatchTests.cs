
namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>Tests presence watchers, which poll the members of other nodes.</summary>
public sealed class WatchTests : IDisposable
{
    readonly InMemoryCluster _cluster = new();
    readonly TestEngine _here;
    readonly TestEngine _there;

    public WatchTests() => (_here, _there) = (new TestEngine(backplane: _cluster.CreateNode()), new TestEngine(backplane: _cluster.CreateNode()));

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _here.Dispose();
        _there.Dispose();
    }

    [Fact]
    public async Task Watch_MemberLeavesBeforeNextPoll_ReportsLeft()
    {
        await using var first = _here.Presence.WatchAsync("/home", Token).GetAsyncEnumerator(Token);
        var looking = first.MoveNextAsync().AsTask();
        var ann = await Listener.ConnectAsync(_there);
        await using var second = _here.Presence.WatchAsync("/home", Token).GetAsyncEnumerator(Token);
        Assert.True(await second.MoveNextAsync());
        Assert.Equal((PresenceChangeKind.Joined, ann.Connection.Id), (second.Current.Kind, second.Current.Member.ConnectionId));
        // The first watcher also receives the change without another poll.
        Assert.True(await looking.WaitAsync(Eventually.Patience, Token));
        Assert.Equal((PresenceChangeKind.Joined, ann.Connection.Id), (first.Current.Kind, first.Current.Member.ConnectionId));
        ann.Disconnect();

        foreach (var watch in (IAsyncEnumerator<PresenceChange>[])[first, second])
        {
            var leaving = watch.MoveNextAsync().AsTask();
            await Eventually.True(() =>
            {
                _here.Time.Advance(TimeSpan.FromSeconds(1));
                return leaving.IsCompleted;
            });
            Assert.True(await leaving);
            Assert.Equal((PresenceChangeKind.Left, ann.Connection.Id), (watch.Current.Kind, watch.Current.Member.ConnectionId));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Watch_FailsToStart_StopsPolling(bool unexpected)
    {
        var backplane = new ManualBackplane();
        using var broadcast = new TestEngine(backplane: backplane);
        backplane.Failures[nameof(IBackplane.GetMembersAsync)] = unexpected ? new InvalidOperationException("It is a bug.") : new BackplaneException("Unreachable.");
        for (var i = 0; i < 10; i++)
        {
            await using var watch = broadcast.Presence.WatchAsync("g", Token).GetAsyncEnumerator(Token);
            await Assert.ThrowsAnyAsync<Exception>(() => watch.MoveNextAsync().AsTask());
        }

        // Each watch may poll one more time before it stops.
        await Eventually.True(() => QueriesAfterASecond() == 0);

        int QueriesAfterASecond()
        {
            var before = Volatile.Read(ref backplane.MemberQueries);
            broadcast.Time.Advance(TimeSpan.FromSeconds(1));
            return Volatile.Read(ref backplane.MemberQueries) - before;
        }
    }

    /// <summary>Tests that the watcher polls again after any exception.</summary>
    [Fact]
    public async Task Watch_PollFails_PollsAgain()
    {
        var backplane = new ManualBackplane();
        using var broadcast = new TestEngine(backplane: backplane);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(Token);
        await using var watch = broadcast.Presence.WatchAsync("g", end.Token).GetAsyncEnumerator(end.Token);
        var watching = watch.MoveNextAsync().AsTask();
        backplane.Failures[nameof(IBackplane.GetMembersAsync)] = new InvalidOperationException("It is a bug.");
        for (var i = 0; i < 3; i++)
        {
            var before = Volatile.Read(ref backplane.MemberQueries);
            await Eventually.True(() =>
            {
                broadcast.Time.Advance(TimeSpan.FromSeconds(1));
                return Volatile.Read(ref backplane.MemberQueries) > before;
            });
        }

        await end.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => watching);
    }

    [Fact]
    public async Task GetMembersAsync_UnreadableMember_ThrowsExceptionWithFix()
    {
        var backplane = new ManualBackplane();
        using var broadcast = new TestEngine(backplane: backplane);
        backplane.SetMember("g", "somebody", default);
        var error = await Assert.ThrowsAsync<BackplaneException>(() => broadcast.Presence.GetMembersAsync("g", Token).AsTask());
        Assert.Contains("version", error.Message, StringComparison.Ordinal);
    }
}
