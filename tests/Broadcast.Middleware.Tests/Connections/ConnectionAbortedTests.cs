using System.Net.WebSockets;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests the events that cancel <see cref="IBroadcastConnection.ConnectionAborted"/>.</summary>
public sealed class ConnectionAbortedTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<End> WebSocketEnds => new(Enum.GetValues<End>());

    public static TheoryData<End> EventStreamEnds => new(End.ClientDisconnects, End.ServerCloses, End.ServerAborts, End.AppStops);

    [Theory]
    [MemberData(nameof(WebSocketEnds))]
    public async Task ConnectionAborted_WebSocketEnds_IsCanceledOnce(End end)
    {
        var app = await BroadcastApp.StartAsync();
        await using var stopped = app;
        await using var client = await RawClient.OpenAsync(app);
        var watch = new Watch(app);
        switch (end)
        {
            case End.ClientCloses:
                await client.LeaveAsync();
                break;
            case End.ClientDisconnects:
                client.Reset();
                break;
            default:
                await watch.EndAsync(end);
                if (end != End.ServerAborts) await client.ClosedWithAsync();
                break;
        }

        await watch.AssertCanceledOnceAsync();
    }

    [Theory]
    [MemberData(nameof(EventStreamEnds))]
    public async Task ConnectionAborted_EventStreamEnds_IsCanceledOnce(End end)
    {
        var app = await BroadcastApp.StartAsync();
        await using var stopped = app;
        await using var client = await EventClient.OpenAsync(app);
        var watch = new Watch(app);
        if (end == End.ClientDisconnects) await client.DisposeAsync();
        else await watch.EndAsync(end);
        await watch.AssertCanceledOnceAsync();
    }

    [Fact]
    public async Task ConnectionAborted_ClientReconnects_IsNewToken()
    {
        await using var app = await BroadcastApp.StartReliableAsync(new RecoveryClock());
        await using var client = await ReliableClient.OpenAsync(app);
        var connection = client.ConnectionOf(app);
        var first = connection.ConnectionAborted;
        Assert.False(first.IsCancellationRequested);
        client.Disconnect();
        await Eventually.True(() => first.IsCancellationRequested);

        await using var returned = await client.ReconnectAsync(app);
        await returned.Transport.JoinedAsync();
        var second = connection.ConnectionAborted;
        Assert.NotEqual(first, second);
        Assert.False(second.IsCancellationRequested);
        await returned.Transport.LeaveAsync();
        await Eventually.True(() => second.IsCancellationRequested);
    }

    [Theory]
    [InlineData(End.ClientCloses)]
    [InlineData(End.ClientDisconnects)]
    public async Task ConnectionAborted_CallbackThrows_IsLoggedAndHarmsNoOtherConnection(End end)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var other = await RawClient.OpenAsync(app);
        await using var client = await OpenNewestAsync(app);
        var connection = app.Registry.Connections.MaxBy(connection => connection.ConnectedAt)!;
        await using var registration = connection.ConnectionAborted.Register(static () => throw new InvalidOperationException("boom"));
        if (end == End.ClientCloses) await client.LeaveAsync();
        else client.Reset();

        await Eventually.True(() => app.Logs.GetSnapshot().Any(record => record.Level >= LogLevel.Error));
        var error = Assert.Single(app.Logs.GetSnapshot(), record => record.Level >= LogLevel.Error);
        Assert.Equal("Broadcast", error.Category);
        Assert.Equal("boom", error.Exception!.GetBaseException().Message);
        await Eventually.True(() => app.Registry.Count == 1);
        await other.AssertOpenAsync();
    }

    /// <summary>
    /// Waits until the clock advances and then connects a client, so that the connection of this client is the newest.
    /// </summary>
    static async Task<RawClient> OpenNewestAsync(BroadcastApp app)
    {
        var newest = app.Registry.Connections.Max(connection => connection.ConnectedAt);
        await Eventually.True(() => TimeProvider.System.GetUtcNow() > newest);
        return await RawClient.OpenAsync(app);
    }

    public enum End
    {
        ClientCloses,
        ClientDisconnects,
        ServerCloses,
        ServerAborts,
        AppStops,
    }

    /// <summary>Observes the <c>ConnectionAborted</c> token of the only connection of an app.</summary>
    sealed class Watch
    {
        readonly BroadcastApp _app;
        readonly Connection _connection;
        readonly CancellationToken _token;
        readonly TaskCompletionSource _canceled = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int _calls;

        public Watch(BroadcastApp app)
        {
            _app = app;
            _connection = (Connection)app.Registry.Connections.Single();
            _token = _connection.ConnectionAborted;
            _token.Register(() =>
            {
                Interlocked.Increment(ref _calls);
                _canceled.TrySetResult();
            });
            Assert.False(_token.IsCancellationRequested);
            Assert.Equal(_token, _connection.ConnectionAborted);
        }

        public async Task EndAsync(End end)
        {
            switch (end)
            {
                case End.ServerCloses:
                    Assert.True(await _app.Broadcaster.CloseAsync(_connection.Id, WebSocketCloseStatus.NormalClosure, cancellationToken: Token));
                    break;
                case End.ServerAborts:
                    _connection.Abort(EndReason.Lost);
                    break;
                default:
                    _app.StopApplication();
                    break;
            }
        }

        /// <summary>
        /// Asserts that the token was canceled once, and that the token stays usable after the end of the connection.
        /// </summary>
        public async Task AssertCanceledOnceAsync()
        {
            await _canceled.Task.WaitAsync(Eventually.Patience, Token);
            // DisposeAsync waits until all requests have ended.
            await _app.DisposeAsync();
            Assert.Equal(1, _calls);
            foreach (var token in new[] { _token, _connection.ConnectionAborted })
            {
                Assert.True(token.IsCancellationRequested);
                Assert.True(token.WaitHandle.WaitOne(0));
                var isCalled = false;
                token.Register(() => isCalled = true);
                Assert.True(isCalled);
            }
        }
    }
}
