using System.Diagnostics;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Diagnostics;

/// <summary>Tests that long work does not keep the execution context of the caller that started the work.</summary>
public sealed class BackgroundWorkTests
{
    readonly AsyncLocal<string?> _caller = new();

    [Fact]
    public async Task Run_CallerHasContext_RunsWithoutContext()
    {
        _caller.Value = "request";
        using var activity = new Activity("request").Start();
        (string?, Activity?) seen = ("?", activity);

        await BackgroundWork.Run(() => seen = (_caller.Value, Activity.Current));

        Assert.Equal((null, null), seen);
        Assert.Equal("request", _caller.Value);
    }

    [Fact]
    public async Task CreateTimer_CallerHasContext_RunsWithoutContext()
    {
        _caller.Value = "request";
        var seen = new TaskCompletionSource<string?>();

        using var timer = BackgroundWork.CreateTimer(
            TimeProvider.System, _ => seen.TrySetResult(_caller.Value), null, TimeSpan.FromMilliseconds(1), Timeout.InfiniteTimeSpan);

        Assert.Null(await seen.Task.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task PresencePolling_FirstWatcherHasContext_RunsWithoutContext()
    {
        var seen = new TaskCompletionSource<string?>();
        var backplane = Substitute.For<IBackplane>();
        backplane.GetMembersAsync("/g", Arg.Any<CancellationToken>()).Returns(_ =>
        {
            // The first call belongs to the watcher. The polling makes the later calls.
            if (Interlocked.Increment(ref _calls) > 1) seen.TrySetResult(_caller.Value);
            return new ValueTask<IReadOnlyList<BackplaneMember>>([]);
        });
        using var broadcast = new ManualBroadcast(backplane: backplane);
        _caller.Value = "watcher";
        await using var watch = broadcast.Broadcaster.Presence.WatchAsync("/g", TestContext.Current.CancellationToken)
            .GetAsyncEnumerator(TestContext.Current.CancellationToken);
        var change = watch.MoveNextAsync().AsTask();

        await Eventually.True(() =>
        {
            broadcast.Time.Advance(TimeSpan.FromSeconds(1));
            return seen.Task.IsCompleted;
        });

        Assert.Null(await seen.Task);
        Assert.False(change.IsCompleted);
    }

    int _calls;
}
