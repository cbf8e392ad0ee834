using Broadcast.Middleware.Redis.Threading;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Redis.Tests.Threading;

public sealed class AsyncAutoResetEventTests
{
    static readonly TimeSpan Timeout = TimeSpan.FromSeconds(10);

    readonly FakeTimeProvider _time = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Wait_AfterSeveralSets_CompletesOnce()
    {
        var signal = new AsyncAutoResetEvent(_time);
        signal.Set();
        signal.Set();
        Assert.True(await signal.WaitAsync(Timeout, Token));
        var second = signal.WaitAsync(Timeout, Token);
        Assert.False(second.IsCompleted);
        signal.Set();
        Assert.True(await second);
    }

    [Fact]
    public async Task Wait_WithoutSet_ReturnsFalseAfterTimeout()
    {
        var signal = new AsyncAutoResetEvent(_time);
        var wait = signal.WaitAsync(Timeout, Token);
        _time.Advance(Timeout - TimeSpan.FromMilliseconds(1));
        Assert.False(wait.IsCompleted);
        _time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.False(await wait);
    }
}
