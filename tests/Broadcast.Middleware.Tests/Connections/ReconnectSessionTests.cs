using System.Net.WebSockets;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Http;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests the move of a connection from one request to the next request after a reconnect.</summary>
public sealed class ReconnectSessionTests
{
    [Fact]
    public async Task Claim_BeforeDisconnectIsNoticed_SucceedsAfterDisconnect()
    {
        using var broadcast = new TestEngine();
        var (connection, request) = Connect(broadcast);
        var claim = connection.Session!.ClaimAsync(connection.Session.FirstToken);
        await Eventually.True(() => request.IsAborted);
        Assert.True(connection.Session.IsClaimed);
        await SuspendAsync(broadcast, connection);
        var wait = connection.Session.WaitAsync();
        Assert.NotNull(await claim);
        Assert.False(connection.Session.IsClaimed);
        // The old request continues until the new request has taken over the connection.
        Assert.False(wait.IsCompleted);
        connection.Session.OnTakenOver("token");
        Assert.True(await wait);
    }

    [Fact]
    public async Task Claim_Twice_LastClaimGetsTheConnection()
    {
        using var broadcast = new TestEngine();
        var (connection, _) = Connect(broadcast);
        var first = connection.Session!.ClaimAsync(connection.Session.FirstToken);
        var token = connection.Session.FirstToken;
        var second = connection.Session.ClaimAsync(token);
        Assert.Null(await first);
        await SuspendAsync(broadcast, connection);
        var wait = connection.Session.WaitAsync();
        Assert.NotNull(await second);
        connection.Session.OnTakenOver("token");
        Assert.True(await wait);
    }

    [Fact]
    public async Task Claim_BeforeEarlierReconnectResumes_AbortsEarlierReconnect()
    {
        using var broadcast = new TestEngine();
        var (connection, _) = Connect(broadcast);
        var session = connection.Session!;
        await SuspendAsync(broadcast, connection);
        var wait = session.WaitAsync();
        var token = session.FirstToken;
        var first = await session.ClaimAsync(token);
        // The second claim comes before the first reconnect resumes the connection.
        var second = session.ClaimAsync(token);
        var request = new FakeRequest();
        var resumed = connection.ReattachAsync(request, new ManualSink(), first!);
        broadcast.RunUntilIdle();
        Assert.True(await resumed);
        Assert.True(await wait);
        await Eventually.True(() => request.IsAborted);
        await SuspendAsync(broadcast, connection);
        var again = session.WaitAsync();
        Assert.NotNull(await second);
        session.OnTakenOver("token");
        Assert.True(await again);
    }

    [Fact]
    public async Task Close_DuringWait_EndsWait()
    {
        using var broadcast = new TestEngine();
        var (connection, _) = Connect(broadcast);
        await SuspendAsync(broadcast, connection);
        var wait = connection.Session!.WaitAsync();
        connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.NormalClosure, null);
        Assert.False(await wait.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken));
        Assert.Null(await connection.Session!.ClaimAsync(connection.Session.FirstToken));
    }

    [Fact]
    public async Task Close_BeforeWait_EndsWaitImmediately()
    {
        using var broadcast = new TestEngine();
        var (connection, _) = Connect(broadcast);
        await SuspendAsync(broadcast, connection);
        connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.NormalClosure, null);
        Assert.False(await connection.Session!.WaitAsync().WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken));
    }

    /// <summary>
    /// The session does not check its limits between the disconnect and the wait. So the session must check the limits
    /// at the start of the wait.
    /// </summary>
    [Fact]
    public async Task MaxUnacknowledgedMessages_ExceededBeforeWait_EndsWait()
    {
        using var broadcast = new TestEngine(configure: options => options.MaxUnacknowledgedMessages = 1);
        var (connection, _) = Connect(broadcast);
        for (var i = 1; i <= 3; i++) broadcast.Publish(ReliableReceiver.Numbered(i), Recipients.Group("/g"));
        broadcast.RunUntilIdle();
        await SuspendAsync(broadcast, connection);
        var wait = connection.Session!.WaitAsync();
        broadcast.RunUntilIdle();
        Assert.False(await wait.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task RecoveryTimeout_DuringWait_EndsWait()
    {
        using var broadcast = new TestEngine();
        var (connection, _) = Connect(broadcast);
        await SuspendAsync(broadcast, connection);
        var wait = connection.Session!.WaitAsync();
        broadcast.Time.Advance(broadcast.Options.RecoveryTimeout);
        Assert.False(await wait.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken));
        Assert.Null(await connection.Session!.ClaimAsync(connection.Session.FirstToken));
    }

    [Fact]
    public async Task Claim_ConnectionEnds_ReturnsNull()
    {
        using var broadcast = new TestEngine();
        var (connection, _) = Connect(broadcast);
        var claim = connection.Session!.ClaimAsync(connection.Session.FirstToken);
        broadcast.Remove(connection);
        connection.End();
        Assert.Null(await claim.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken));
        Assert.Null(await connection.Session!.ClaimAsync(connection.Session.FirstToken));
    }

    [Fact]
    public async Task OldReconnectionToken_UntilFirstAcknowledgement_StaysValid()
    {
        using var broadcast = new TestEngine();
        var (connection, _) = Connect(broadcast);
        var session = connection.Session!;
        var old = session.FirstToken;
        for (var i = 0; i < 2; i++)
        {
            await SuspendAsync(broadcast, connection);
            var wait = session.WaitAsync();
            var token = await session.ClaimAsync(old);
            var resumed = connection.ReattachAsync(new FakeRequest(), new ManualSink(), token!);
            broadcast.RunUntilIdle();
            Assert.True(await resumed);
            Assert.True(await wait);
        }

        broadcast.Publish(ReliableReceiver.Numbered(1), Recipients.Group("/g"));
        broadcast.RunUntilIdle();
        connection.Writer.OnAcknowledged(broadcast.Clock.Last);
        broadcast.RunUntilIdle();
        await SuspendAsync(broadcast, connection);
        _ = session.WaitAsync();
        Assert.Null(await session.ClaimAsync(old));
    }

    /// <summary>
    /// The server reuses the context of a request. A late abort would abort another request or throw on the thread pool.
    /// </summary>
    [Fact]
    public async Task OldRequest_AfterHandover_IsNotAborted()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var (served, connection, socket) = await ConnectAsync(app);
        socket.ReceiveFails(new WebSocketException(WebSocketError.ConnectionClosedPrematurely));
        await Eventually.True(() => connection.Session!.ClaimAsync("").IsCompleted && served.Lifetime.ReceivedCalls().Any());
        Assert.NotNull(await connection.Session!.ClaimAsync(connection.Session.FirstToken));
        connection.Session.OnTakenOver("token");
        await served.Ended;
        served.Lifetime.ClearReceivedCalls();
        connection.AbortNow();
        Assert.Empty(served.Lifetime.ReceivedCalls());
    }

    [Fact]
    public async Task AbortOfDisconnectedTransport_Throws_IsLoggedAndKeepsSession()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var (served, connection, socket) = await ConnectAsync(app);
        served.Lifetime.When(lifetime => lifetime.Abort()).Do(_ => throw new InvalidOperationException("boom"));
        socket.ReceiveFails(new WebSocketException(WebSocketError.ConnectionClosedPrematurely));
        await Eventually.True(() => app.Errors.Count > 0);
        Assert.Equal("boom", Assert.Single(app.Errors).Exception?.Message);
        Assert.Equal([connection], app.Registry.Connections);

        // No client reconnects, so the session ends.
        await Eventually.True(() =>
        {
            app.Time.Advance(TimeSpan.FromSeconds(30));
            return served.Task.IsCompleted;
        });

        await served.Ended;
        Assert.Equal(0, app.Registry.Count);
        Assert.Null(await connection.Session!.ClaimAsync(connection.Session.FirstToken));
    }

    [Fact]
    public async Task DisposeOfDisconnectedTransport_Throws_RemovesConnection()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var (served, connection, socket) = await ConnectAsync(app);
        var throws = true;
        socket.Socket.When(webSocket => webSocket.Dispose()).Do(_ =>
        {
            if (Interlocked.Exchange(ref throws, false)) throw new InvalidOperationException("boom");
        });
        socket.ReceiveFails(new WebSocketException(WebSocketError.ConnectionClosedPrematurely));
        await Assert.ThrowsAnyAsync<InvalidOperationException>(() => served.Ended);
        Assert.Equal(0, app.Registry.Count);
        Assert.Null(await connection.Session!.ClaimAsync(connection.Session.FirstToken));
    }

    [Fact]
    public async Task Reconnect_AuthenticationThrows_KeepsConnectionWaiting()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var (_, connection, socket) = await ConnectAsync(app);
        socket.ReceiveFails(new WebSocketException(WebSocketError.ConnectionClosedPrematurely));
        Task ReconnectAsync() => app.Serve(new ScriptedSocket(), context =>
        {
            AsReliable(context);
            context.Request.QueryString = new($"?awps_connection_id={connection.Id}&awps_reconnection_token={connection.Session!.FirstToken}");
            var authentication = Substitute.For<IAuthenticateResultFeature>();
            authentication.AuthenticateResult.Returns(_ => throw new InvalidOperationException("boom"));
            context.Features.Set(authentication);
        }).Ended;
        await Assert.ThrowsAnyAsync<InvalidOperationException>(ReconnectAsync);
        // The failed request did not claim the session, so the client can still reconnect.
        Assert.Equal([connection], app.Registry.Connections);
        Assert.NotNull(await connection.Session!.ClaimAsync(connection.Session.FirstToken));
    }

    static async Task<(Served Served, Connection Connection, ScriptedSocket Socket)> ConnectAsync(InMemoryApp app)
    {
        var socket = new ScriptedSocket();
        var served = app.Serve(socket, AsReliable);
        await Eventually.True(() => app.Registry.Connections.SingleOrDefault() is Connection { WasOpened: true });
        return (served, (Connection)app.Registry.Connections.Single(), socket);
    }

    static void AsReliable(HttpContext context) => context.Request.Headers.SecWebSocketProtocol = "json.reliable.webpubsub.azure.v1";

    static (Connection Connection, FakeRequest Request) Connect(TestEngine broadcast)
    {
        var request = new FakeRequest();
        var connection = broadcast.Connect(broadcast.Pumps[0], "/g", new ManualSink(), request, ReliableReceiver.Protocol);
        broadcast.RunUntilIdle();
        return (connection, request);
    }

    static async Task SuspendAsync(TestEngine broadcast, Connection connection)
    {
        var suspended = connection.SuspendAsync();
        broadcast.RunUntilIdle();
        await suspended;
    }
}
