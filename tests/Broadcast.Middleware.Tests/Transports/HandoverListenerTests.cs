using Microsoft.AspNetCore.Connections;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Transports;

public sealed class HandoverListenerTests : IDisposable
{
    readonly IConnectionListener _inner = Substitute.For<IConnectionListener>();
    readonly CancellationTokenSource _stopping = new();
    readonly CancellationTokenSource _abandoned = new();
    readonly List<Task> _awaitedAtShutdown = [];
    readonly HandoverListener _listener;

    public HandoverListenerTests() =>
        _listener = new(_inner, new(HandsOver: true, SendsInline: true, _awaitedAtShutdown.Add, _stopping.Token, _abandoned.Token));

    public void Dispose()
    {
        _stopping.Dispose();
        _abandoned.Dispose();
    }

    /// <summary>
    /// Kestrel disposes a listener while the app runs if, for example, the configuration of the endpoint changes.
    /// </summary>
    [Fact]
    public async Task Dispose_AppRuns_DoesNotWaitForConnections()
    {
        _listener.Retain();

        await _listener.DisposeAsync();

        await _inner.DidNotReceive().DisposeAsync();
        var awaited = Assert.Single(_awaitedAtShutdown);
        Assert.False(awaited.IsCompleted);
        _listener.Release();
        await awaited.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
        Assert.True(IsInnerDisposed());
    }

    [Fact]
    public async Task Dispose_AppStops_WaitsForConnections()
    {
        _listener.Retain();
        await _stopping.CancelAsync();

        var disposing = _listener.DisposeAsync().AsTask();

        Assert.False(disposing.IsCompleted);
        Assert.False(IsInnerDisposed());
        _listener.Release();
        await disposing.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
        Assert.True(IsInnerDisposed());
        Assert.Empty(_awaitedAtShutdown);
    }

    [Fact]
    public async Task Dispose_WaitIsAbandoned_DisposesInnerListener()
    {
        _listener.Retain();
        await _stopping.CancelAsync();
        var disposing = _listener.DisposeAsync().AsTask();

        await _abandoned.CancelAsync();

        await disposing.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
        Assert.True(IsInnerDisposed());
        // The late end of the connection must not throw.
        _listener.Release();
    }

    [Fact]
    public async Task Retain_AfterDispose_CanBeReleasedAgain()
    {
        await _listener.DisposeAsync();
        _listener.Retain();
        _listener.Release();
        Assert.True(IsInnerDisposed());
    }

    bool IsInnerDisposed() =>
        _inner.ReceivedCalls().Any(static call => call.GetMethodInfo().Name == nameof(IAsyncDisposable.DisposeAsync));
}
