using System.Net.WebSockets;
using Broadcast.Middleware.Tests.Properties;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Http;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>How a connection gets from one request to another, whatever comes in between.</summary>
public sealed class HandoverTests
{
    [Fact]
    public async Task Who_comes_before_the_loss_is_noticed_gets_it_when_it_is()
    {
        using var stage = new Stage();
        var (connection, request) = Connect(stage);
        var claim = connection.Session!.ClaimAsync(connection.Session.FirstToken);
        await Eventually.True(() => request.IsAborted);
        Assert.True(connection.Session.IsClaimed);
        await SuspendAsync(stage, connection);
        var wait = connection.Session.WaitAsync();
        Assert.NotNull(await claim);
        Assert.False(connection.Session.IsClaimed);
        // The request before stays until the new one is in its place.
        Assert.False(wait.IsCompleted);
        connection.Session.OnTaken();
        Assert.True(await wait);
    }

    [Fact]
    public async Task The_last_one_to_come_gets_it()
    {
        using var stage = new Stage();
        var (connection, _) = Connect(stage);
        var first = connection.Session!.ClaimAsync(connection.Session.FirstToken);
        var token = connection.Session.FirstToken;
        var second = connection.Session.ClaimAsync(token);
        Assert.Null(await first);
        await SuspendAsync(stage, connection);
        var wait = connection.Session.WaitAsync();
        Assert.NotNull(await second);
        connection.Session.OnTaken();
        Assert.True(await wait);
    }

    [Fact]
    public async Task Who_comes_while_another_is_being_given_the_line_cuts_that_off()
    {
        using var stage = new Stage();
        var (connection, _) = Connect(stage);
        var session = connection.Session!;
        await SuspendAsync(stage, connection);
        var wait = session.WaitAsync();
        var token = session.FirstToken;
        var first = await session.ClaimAsync(token);
        // Before the first one has resumed it.
        var second = session.ClaimAsync(token);
        var request = new FakeRequest();
        var resumed = connection.ResumeAsync(request.Context, null!, new HandSink(), first!);
        stage.RunUntilIdle();
        Assert.True(await resumed);
        Assert.True(await wait);
        await Eventually.True(() => request.IsAborted);
        await SuspendAsync(stage, connection);
        var again = session.WaitAsync();
        Assert.NotNull(await second);
        session.OnTaken();
        Assert.True(await again);
    }

    [Fact]
    public async Task A_goodbye_ends_the_wait()
    {
        using var stage = new Stage();
        var (connection, _) = Connect(stage);
        await SuspendAsync(stage, connection);
        var wait = connection.Session!.WaitAsync();
        connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.NormalClosure, null);
        Assert.False(await wait.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken));
        Assert.Null(await connection.Session.ClaimAsync(connection.Session.FirstToken));
    }

    [Fact]
    public async Task A_goodbye_just_before_it_leaves_nothing_to_wait_for()
    {
        using var stage = new Stage();
        var (connection, _) = Connect(stage);
        await SuspendAsync(stage, connection);
        connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.NormalClosure, null);
        Assert.False(await connection.Session!.WaitAsync().WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken));
    }

    /// <summary>Nothing else happens that would let it look again.</summary>
    [Fact]
    public async Task What_was_too_much_before_the_wait_began_ends_it()
    {
        using var stage = new Stage(configure: options => options.MaxUnacknowledgedMessages = 1);
        var (connection, _) = Connect(stage);
        for (var i = 1; i <= 3; i++) stage.Broadcaster.Publish(ReliableClient.Numbered(i), Recipients.Group("/g"));
        stage.RunUntilIdle();
        await SuspendAsync(stage, connection);
        var wait = connection.Session!.WaitAsync();
        stage.RunUntilIdle();
        Assert.False(await wait.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task The_time_ends_the_wait()
    {
        using var stage = new Stage();
        var (connection, _) = Connect(stage);
        await SuspendAsync(stage, connection);
        var wait = connection.Session!.WaitAsync();
        stage.Time.Advance(stage.Broadcaster.Options.RecoveryTimeout);
        Assert.False(await wait.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken));
        Assert.Null(await connection.Session.ClaimAsync(connection.Session.FirstToken));
    }

    [Fact]
    public async Task Who_waits_for_a_connection_that_ends_is_told()
    {
        using var stage = new Stage();
        var (connection, _) = Connect(stage);
        var claim = connection.Session!.ClaimAsync(connection.Session.FirstToken);
        connection.End();
        Assert.Null(await claim.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken));
        Assert.Null(await connection.Session.ClaimAsync(connection.Session.FirstToken));
    }

    [Fact]
    public async Task The_old_token_counts_until_the_client_has_shown_that_it_has_the_new_one()
    {
        using var stage = new Stage();
        var (connection, _) = Connect(stage);
        var session = connection.Session!;
        var old = session.FirstToken;
        for (var i = 0; i < 2; i++)
        {
            await SuspendAsync(stage, connection);
            var wait = session.WaitAsync();
            var token = await session.ClaimAsync(old);
            var resumed = connection.ResumeAsync(new FakeRequest().Context, null!, new HandSink(), token!);
            stage.RunUntilIdle();
            Assert.True(await resumed);
            Assert.True(await wait);
        }

        stage.Broadcaster.Publish(ReliableClient.Numbered(1), Recipients.Group("/g"));
        stage.RunUntilIdle();
        connection.Writer.OnAcknowledged(stage.Broadcaster.Clock.Last);
        stage.RunUntilIdle();
        await SuspendAsync(stage, connection);
        _ = session.WaitAsync();
        Assert.Null(await session.ClaimAsync(old));
    }

    /// <summary>The server uses a request's context again; what still came to cut off the line would hit another one, or throw on a thread of the pool.</summary>
    [Fact]
    public async Task A_request_that_has_handed_it_over_is_not_touched_any_more()
    {
        await using var app = new MappedBroadcast();
        var (served, connection, socket) = await ConnectAsync(app);
        socket.ReceiveFails(new WebSocketException(WebSocketError.ConnectionClosedPrematurely));
        await Eventually.True(() => connection.Session!.ClaimAsync("").IsCompleted && served.Lifetime.ReceivedCalls().Any());
        Assert.NotNull(await connection.Session!.ClaimAsync(connection.Session.FirstToken));
        connection.Session.OnTaken();
        await served.Ended;
        served.Lifetime.ClearReceivedCalls();
        connection.AbortNow();
        Assert.Empty(served.Lifetime.ReceivedCalls());
    }

    [Fact]
    public async Task A_server_that_fails_to_cut_off_a_lost_line_leaves_no_connection_behind()
    {
        await using var app = new MappedBroadcast();
        var (served, connection, socket) = await ConnectAsync(app);
        served.Lifetime.When(lifetime => lifetime.Abort()).Do(_ => throw new InvalidOperationException("boom"));
        socket.ReceiveFails(new WebSocketException(WebSocketError.ConnectionClosedPrematurely));
        await Assert.ThrowsAnyAsync<InvalidOperationException>(() => served.Ended);
        Assert.Equal(0, app.Registry.Count);
        Assert.Null(await connection.Session!.ClaimAsync(connection.Session.FirstToken));
    }

    [Fact]
    public async Task What_fails_when_a_client_comes_back_leaves_no_connection_behind()
    {
        await using var app = new MappedBroadcast();
        var (_, connection, socket) = await ConnectAsync(app);
        socket.ReceiveFails(new WebSocketException(WebSocketError.ConnectionClosedPrematurely));
        var back = app.Serve(new ScriptedSocket(), context =>
        {
            AsReliable(context);
            context.Request.QueryString = new($"?awps_connection_id={connection.Id}&awps_reconnection_token={connection.Session!.FirstToken}");
            var authentication = Substitute.For<IAuthenticateResultFeature>();
            authentication.AuthenticateResult.Returns(_ => throw new InvalidOperationException("boom"));
            context.Features.Set(authentication);
        });
        await Assert.ThrowsAnyAsync<InvalidOperationException>(() => back.Ended);
        Assert.Equal(0, app.Registry.Count);
    }

    static async Task<(Served Served, Connection Connection, ScriptedSocket Socket)> ConnectAsync(MappedBroadcast app)
    {
        var socket = new ScriptedSocket();
        var served = app.Serve(socket, AsReliable);
        await Eventually.True(() => app.Registry.Connections.SingleOrDefault() is Connection { IsAttached: true });
        return (served, (Connection)app.Registry.Connections.Single(), socket);
    }

    static void AsReliable(HttpContext context) => context.Request.Headers.SecWebSocketProtocol = "json.reliable.webpubsub.azure.v1";

    static (Connection Connection, FakeRequest Request) Connect(Stage stage)
    {
        var request = new FakeRequest();
        var connection = stage.Connect(stage.Pumps[0], "/g", new HandSink(), request, ReliableClient.Protocol);
        stage.RunUntilIdle();
        return (connection, request);
    }

    static async Task SuspendAsync(Stage stage, Connection connection)
    {
        var suspended = connection.Writer.SuspendAsync();
        stage.RunUntilIdle();
        await suspended;
    }
}
