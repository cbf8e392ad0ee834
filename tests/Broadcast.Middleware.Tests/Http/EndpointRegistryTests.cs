using System.Net.WebSockets;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using NSubstitute;
using NSubstitute.ExceptionExtensions;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests how the library calls a custom <see cref="IConnectionRegistry"/>, and how the library handles the results and
/// exceptions of the registry.
/// </summary>
public sealed class EndpointRegistryTests
{
    readonly IConnectionRegistry _registry = Substitute.For<IConnectionRegistry>();
    IBroadcastConnection? _added;

    public EndpointRegistryTests()
    {
        _registry.TryAdd(Arg.Any<IBroadcastConnection>()).Returns(call =>
        {
            _added = call.Arg<IBroadcastConnection>();
            return true;
        });
        _registry.TryJoin(Arg.Any<IBroadcastConnection>(), Arg.Any<string>()).Returns(true);
        _registry.Leave(Arg.Any<IBroadcastConnection>(), Arg.Any<string>()).Returns(true);
        _registry.Remove(Arg.Any<IBroadcastConnection>()).Returns(true);
        _registry.Find(Arg.Any<string>()).Returns(call => _added?.Id == call.Arg<string>() ? _added : null);
    }

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task TryAdd_ReturnsFalse_RefusesWithStatus503BeforeHandshake()
    {
        _registry.TryAdd(Arg.Any<IBroadcastConnection>()).Returns(false);
        await using var app = await InMemoryApp.StartManualAsync(registry: _registry);
        var socket = new ScriptedSocket();
        var served = app.Serve(socket);
        await served.Ended;
        Assert.Equal(StatusCodes.Status503ServiceUnavailable, served.Context.Response.StatusCode);
        Assert.Empty(socket.Socket.ReceivedCalls());
        _registry.DidNotReceive().Remove(Arg.Any<IBroadcastConnection>());
    }

    [Fact]
    public async Task TryJoin_ReturnsFalseForHomeGroup_ClosesWithCode1008()
    {
        _registry.TryJoin(Arg.Any<IBroadcastConnection>(), "/ws").Returns(false);
        await using var app = await InMemoryApp.StartManualAsync(registry: _registry);
        var socket = new ScriptedSocket();
        await app.Serve(socket).Ended;
        await socket.Socket.Received(1).CloseOutputAsync(WebSocketCloseStatus.PolicyViolation, Arg.Any<string?>(), Arg.Any<CancellationToken>());
        _registry.Received(1).Remove(_added!);
        Assert.Empty(app.Errors);
    }

    [Fact]
    public async Task Connection_WholeLifetime_IsAddedJoinedAndRemovedOnce()
    {
        await using var app = await InMemoryApp.StartManualAsync(registry: _registry);
        var socket = new ScriptedSocket();
        var served = app.Serve(socket);
        socket.ReceivesClose();
        await served.Ended;
        Received.InOrder(() =>
        {
            _registry.TryAdd(_added!);
            _registry.TryJoin(_added!, "/ws");
            _registry.Remove(_added!);
        });
        Assert.Equal(3, _registry.ReceivedCalls().Count());
    }

    public static TheoryData<string> Endings => ["peer closes", "receive fails", "send fails", "server closes", "filter throws", "aborted", "stopping"];

    [Theory]
    [MemberData(nameof(Endings))]
    public async Task Connection_EndsForAnyReason_IsRemovedExactlyOnce(string ending)
    {
        _registry.Connections.Returns(_ => _added is null ? [] : [_added]);
        await using var app = await InMemoryApp.StartManualAsync(registry: _registry, broadcast: broadcast => broadcast.Use((context, next) =>
            context.Text == "throw" ? throw new InvalidOperationException("a filter's error") : next(context)));
        var socket = new ScriptedSocket();
        var served = app.Serve(socket);
        await Eventually.True(() => _added is Connection { WasOpened: true });
        var connection = (Connection)_added!;
        await PumpBarrier.PassAsync(connection.Writer.Pump);
        switch (ending)
        {
            case "peer closes":
                socket.ReceivesClose();
                break;
            case "receive fails":
                socket.ReceiveFails(new WebSocketException("gone"));
                break;
            case "send fails":
                socket.Sending = () => throw new IOException("gone");
                await app.Broadcaster.PublishAsync("x", cancellationToken: Token);
                break;
            case "server closes":
                await app.Broadcaster.CloseAsync(connection.Id, cancellationToken: Token);
                break;
            case "filter throws":
                socket.Receives("throw");
                break;
            case "aborted":
                connection.Abort(EndReason.Lost);
                break;
            case "stopping":
                app.StopApplication();
                break;
        }

        await served.Ended;
        _registry.Received(1).Remove(connection);
        _registry.Received(1).Remove(Arg.Any<IBroadcastConnection>());
    }

    [Fact]
    public async Task TryAdd_Throws_RefusesWithStatus500BeforeHandshake()
    {
        _registry.TryAdd(Arg.Any<IBroadcastConnection>()).Throws(new InvalidOperationException("full disk"));
        await using var app = await InMemoryApp.StartManualAsync(registry: _registry);
        var socket = new ScriptedSocket();
        var served = app.Serve(socket);
        await served.Ended;
        Assert.Equal(StatusCodes.Status500InternalServerError, served.Context.Response.StatusCode);
        Assert.DoesNotContain("full disk", served.Body, StringComparison.Ordinal);
        Assert.Equal((11, "full disk"), (Assert.Single(app.Errors).Id.Id, Assert.Single(app.Errors).Exception!.Message));
        Assert.Empty(socket.Socket.ReceivedCalls());
        // A registry can throw after it has added the connection.
        _registry.Received(1).Remove(Arg.Any<IBroadcastConnection>());
    }

    [Fact]
    public async Task TryJoin_Throws_ClosesWithCode1011()
    {
        _registry.TryJoin(Arg.Any<IBroadcastConnection>(), Arg.Any<string>()).Throws(new InvalidOperationException("no"));
        await using var app = await InMemoryApp.StartManualAsync(registry: _registry);
        var socket = new ScriptedSocket();
        await app.Serve(socket).Ended;
        await socket.Socket.Received(1).CloseOutputAsync(WebSocketCloseStatus.InternalServerError, CloseReasons.Failed, Arg.Any<CancellationToken>());
        Assert.Single(app.Errors);
        _registry.Received(1).Remove(_added!);
    }

    [Fact]
    public async Task Remove_Throws_LogsErrorOnceAndEndsConnection()
    {
        _registry.Remove(Arg.Any<IBroadcastConnection>()).Throws(new InvalidOperationException("no"));
        await using var app = await InMemoryApp.StartManualAsync(registry: _registry);
        var socket = new ScriptedSocket();
        var served = app.Serve(socket);
        socket.ReceivesClose();
        await served.Ended;
        Assert.Equal(12, Assert.Single(app.Errors).Id.Id);
        Assert.Equal(0, app.GroupCount);
        _registry.Received(1).Remove(Arg.Any<IBroadcastConnection>());
    }

    [Theory]
    [InlineData("GetUserConnections")]
    [InlineData("Leave")]
    public async Task RegistryCall_ThrowsDuringMessage_ClosesOnlyThatConnectionWithCode1011(string method)
    {
        await using var app = await InMemoryApp.StartManualAsync(registry: new FailingRegistry(method), broadcast: broadcast => broadcast.Use(async (context, next) =>
        {
            if (context.Text == "leave") await context.Broadcaster.LeaveAsync(context.Connection.Id, "/ws", Token);
            if (context.Text == "user") context.Recipients = Recipients.User("someone");
            await next(context);
        }));
        var (failing, other) = (new ScriptedSocket(), new ScriptedSocket());
        var (served, _) = await app.ConnectAsync(failing);
        await app.ConnectAsync(other);
        failing.Receives(method == "GetUserConnections" ? "user" : "leave");
        await served.Ended;
        await failing.Socket.Received(1).CloseOutputAsync(WebSocketCloseStatus.InternalServerError, CloseReasons.Failed, Arg.Any<CancellationToken>());
        Assert.Single(app.Errors);
        other.Receives("still here");
        await Eventually.True(() => other.Sent.Count == 1);
    }

    [Fact]
    public async Task PublishToUser_CustomRegistry_SendsToConnectionsFromRegistry()
    {
        await using var app = await InMemoryApp.StartManualAsync(registry: _registry);
        var (one, two) = (new ScriptedSocket(), new ScriptedSocket());
        app.Serve(one);
        await Eventually.True(() => _added is Connection { WasOpened: true });
        var first = _added!;
        app.Serve(two);
        await Eventually.True(() => _added != first && _added is Connection { WasOpened: true });
        await PumpBarrier.PassAsync(((Connection)first).Writer.Pump);
        await PumpBarrier.PassAsync(((Connection)_added!).Writer.Pump);

        _registry.GetUserConnections("ann").Returns([first]);
        var toUser = await app.Broadcaster.PublishAsync("user", Recipients.User("ann"), cancellationToken: Token);
        Assert.Equal(1, toUser.LocalRecipients);
        await app.Broadcaster.PublishAsync("all", cancellationToken: Token);
        await Eventually.True(() => one.Sent.Count == 2 && two.Sent.Count == 1);
        Assert.Equal(["user", "all"], one.SentTexts);
        Assert.Equal(["all"], two.SentTexts);
    }

    /// <summary>
    /// Tests a registry that returns its own connection objects. The library finds the connection by the ID of such an
    /// object.
    /// </summary>
    [Fact]
    public async Task PublishToUser_RegistryReturnsOwnObjects_SendsByConnectionId()
    {
        await using var app = await InMemoryApp.StartManualAsync(registry: _registry);
        var socket = new ScriptedSocket();
        app.Serve(socket);
        await Eventually.True(() => _added is Connection { WasOpened: true });
        var (copy, unknown) = (Substitute.For<IBroadcastConnection>(), Substitute.For<IBroadcastConnection>());
        copy.Id.Returns(_added!.Id);
        unknown.Id.Returns("no connection");
        _registry.GetUserConnections("ann").Returns([copy, unknown]);

        var result = await app.Broadcaster.PublishAsync("user", Recipients.User("ann"), cancellationToken: Token);

        Assert.Equal(1, result.LocalRecipients);
        await Eventually.True(() => socket.Sent.Count == 1);
        Assert.Equal(["user"], socket.SentTexts);
    }

    /// <summary>
    /// Tests a registry that finds no connection. The library does not use the registry to find a connection by ID.
    /// </summary>
    [Fact]
    public async Task PublishToConnection_RegistryDoesNotFindConnection_SendsToTheConnection()
    {
        await using var app = await InMemoryApp.StartManualAsync(registry: _registry);
        var socket = new ScriptedSocket();
        app.Serve(socket);
        await Eventually.True(() => _added is Connection { WasOpened: true });
        _registry.Find(Arg.Any<string>()).Returns((IBroadcastConnection?)null);

        var result = await app.Broadcaster.PublishAsync("x", Recipients.Connection(_added!.Id), cancellationToken: Token);

        Assert.Equal(1, result.LocalRecipients);
        await Eventually.True(() => socket.Sent.Count == 1);
    }

    [Fact]
    public async Task JoinAsync_TryJoinReturnsFalse_ReturnsFalseAndAddsNoMember()
    {
        _registry.TryJoin(Arg.Any<IBroadcastConnection>(), "secret").Returns(false);
        await using var app = await InMemoryApp.StartManualAsync(registry: _registry);
        var socket = new ScriptedSocket();
        app.Serve(socket);
        await Eventually.True(() => _added is Connection { WasOpened: true });
        Assert.False(await app.Broadcaster.JoinAsync(_added!.Id, "secret", Token));
        Assert.Equal(0, (await app.Broadcaster.PublishAsync("x", Recipients.Group("secret"), cancellationToken: Token)).LocalRecipients);
        await app.Broadcaster.PublishAsync("end", cancellationToken: Token);
        await Eventually.True(() => !socket.Sent.IsEmpty);
        Assert.Equal(["end"], socket.SentTexts);
    }

    /// <summary>The default registry with one method that throws.</summary>
    sealed class FailingRegistry(string method) : IConnectionRegistry
    {
        readonly ConnectionRegistry _inner = new();

        public int Count => _inner.Count;
        public IEnumerable<IBroadcastConnection> Connections => _inner.Connections;
        public bool TryAdd(IBroadcastConnection connection) => _inner.TryAdd(connection);
        public bool Remove(IBroadcastConnection connection) => _inner.Remove(connection);
        public bool TryJoin(IBroadcastConnection connection, string group) => _inner.TryJoin(connection, group);
        public bool Leave(IBroadcastConnection connection, string group) => Check("Leave", _inner.Leave(connection, group));
        public IBroadcastConnection? Find(string connectionId) => _inner.Find(connectionId);
        public IEnumerable<IBroadcastConnection> GetUserConnections(string userId) => Check("GetUserConnections", _inner.GetUserConnections(userId));
        public IEnumerable<IBroadcastConnection> GetGroupMembers(string group) => _inner.GetGroupMembers(group);
        public int CountGroupMembers(string group) => _inner.CountGroupMembers(group);

        T Check<T>(string called, T result) => called == method ? throw new InvalidOperationException(method) : result;
    }
}
