using System.Net.WebSockets;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.Timeouts;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests the endpoint with a substitute for the WebSocket.</summary>
public sealed class BroadcastEndpointTests
{
    [Fact]
    public async Task Receive_Message_IsSentToAllMembersUnchanged()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var (one, two) = (new ScriptedSocket(), new ScriptedSocket());
        await app.ConnectAsync(one);
        await app.ConnectAsync(two);
        one.Receives([0, 255, 128, 7], WebSocketMessageType.Binary);
        two.Receives("grüße");
        foreach (var socket in new[] { one, two })
        {
            await Eventually.True(() => socket.Sent.Count == 2);
            var binary = socket.Sent.Single(message => message.Type == WebSocketMessageType.Binary);
            Assert.Equal([0, 255, 128, 7], binary.Bytes);
            Assert.True(binary.EndOfMessage);
            var text = socket.Sent.Single(message => message.Type == WebSocketMessageType.Text);
            Assert.Equal("grüße"u8, text.Bytes);
            Assert.True(text.EndOfMessage);
        }
    }

    [Fact]
    public async Task Receive_ManyMessages_KeepsOrderAndBoundaries()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var socket = new ScriptedSocket();
        await app.ConnectAsync(socket);
        var texts = Enumerable.Range(0, 200).Select(i => new string('x', i * 7 % 300) + i).ToArray();
        foreach (var text in texts) socket.Receives(text);
        await Eventually.True(() => socket.Sent.Count == texts.Length);
        Assert.Equal(texts, socket.SentTexts);
    }

    [Fact]
    public async Task Receive_EmptyMessage_IsRelayed()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var socket = new ScriptedSocket();
        await app.ConnectAsync(socket);
        socket.Receives("");
        await Eventually.True(() => socket.Sent.Count == 1);
        Assert.Empty(socket.Sent.Single().Bytes);
        Assert.Equal(WebSocketMessageType.Text, socket.Sent.Single().Type);
    }

    [Fact]
    public async Task Receive_Fragments_AreJoined()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var socket = new ScriptedSocket();
        await app.ConnectAsync(socket);
        var large = Encoding.UTF8.GetBytes(new string('a', 20_000) + "ä");
        socket.Receives(large[..1], WebSocketMessageType.Text, end: false);
        socket.Receives([], WebSocketMessageType.Text, end: false);
        socket.Receives(large[1..^1], WebSocketMessageType.Text, end: false);
        socket.Receives(large[^1..], WebSocketMessageType.Text, end: true);
        await Eventually.True(() => socket.Sent.Count == 1);
        BytesAssert.Equal(large, socket.Sent.Single().Bytes);
    }

    [Fact]
    public async Task PeerClose_WithCodeAndReason_IsAnsweredAndEndsRequest()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var socket = new ScriptedSocket();
        var (served, _) = await app.ConnectAsync(socket);
        socket.ReceivesClose((WebSocketCloseStatus)4001, "enough");
        await served.Ended;
        await socket.Socket.Received(1).CloseOutputAsync((WebSocketCloseStatus)4001, "enough", Arg.Any<CancellationToken>());
        socket.Socket.DidNotReceive().Abort();
        served.Lifetime.DidNotReceive().Abort();
        socket.Socket.Received(1).Dispose();
        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(0, app.GroupCount);
    }

    [Fact]
    public async Task PeerClose_WithoutCode_IsAnsweredWithCode1000()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var socket = new ScriptedSocket();
        var (served, _) = await app.ConnectAsync(socket);
        socket.ReceivesClose(status: null);
        await served.Ended;
        await socket.Socket.Received(1).CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, Arg.Any<CancellationToken>());
    }

    [Fact]
    public async Task Close_MessagesPending_SendsMessagesBeforeCloseFrame()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var release = new TaskCompletionSource();
        var socket = new ScriptedSocket { Sending = () => release.Task };
        var (served, connection) = await app.ConnectAsync(socket);
        for (var i = 0; i < 10; i++) await app.Broadcaster.PublishAsync($"{i}", cancellationToken: TestContext.Current.CancellationToken);
        Assert.True(await app.Broadcaster.CloseAsync(connection.Id, cancellationToken: TestContext.Current.CancellationToken));
        await socket.Socket.DidNotReceive().CloseOutputAsync(Arg.Any<WebSocketCloseStatus>(), Arg.Any<string?>(), Arg.Any<CancellationToken>());
        release.SetResult();
        await served.Ended;
        Assert.Equal(Enumerable.Range(0, 10).Select(i => $"{i}"), socket.SentTexts);
        await socket.Socket.Received(1).CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, Arg.Any<CancellationToken>());
    }

    [Fact]
    public async Task Message_ReceivedAfterClose_IsNotPublished()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var (leaver, other) = (new ScriptedSocket { AnswersClose = false }, new ScriptedSocket());
        var (served, connection) = await app.ConnectAsync(leaver);
        await app.ConnectAsync(other);
        connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.NormalClosure, null);
        leaver.Receives("too late");
        leaver.ReceivesClose();
        await served.Ended;
        other.Receives("end");
        await Eventually.True(() => !other.Sent.IsEmpty);
        Assert.Equal(["end"], other.SentTexts);
    }

    [Fact]
    public async Task Close_UnansweredAfterCloseTimeout_AbortsConnection()
    {
        await using var app = await InMemoryApp.StartManualAsync(options => options.CloseTimeout = TimeSpan.FromSeconds(3));
        var socket = new ScriptedSocket { AnswersClose = false };
        var (served, connection) = await app.ConnectAsync(socket);
        connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.NormalClosure, null);
        await Eventually.True(() => connection.Writer.IsCloseFrameSent);
        app.Time.Advance(TimeSpan.FromSeconds(2.9));
        Assert.False(socket.IsAborted);
        app.Time.Advance(TimeSpan.FromSeconds(0.2));
        await served.Ended;
        Assert.True(socket.IsAborted);
        served.Lifetime.Received().Abort();
        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task CloseFrame_SendFails_EndsConnection()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var socket = new ScriptedSocket { Closing = () => throw new WebSocketException("gone") };
        var (served, _) = await app.ConnectAsync(socket);
        socket.ReceivesClose();
        await served.Ended;
        Assert.Equal(0, app.Registry.Count);
        Assert.Empty(app.Errors);
    }

    [Fact]
    public async Task Receive_Fails_EndsOnlyThatConnectionWithoutErrorLog()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var (failing, other) = (new ScriptedSocket(), new ScriptedSocket());
        var (served, _) = await app.ConnectAsync(failing);
        await app.ConnectAsync(other);
        failing.ReceiveFails(new WebSocketException(WebSocketError.ConnectionClosedPrematurely));
        await served.Ended;
        Assert.True(failing.IsAborted);
        failing.Socket.Received(1).Dispose();
        Assert.Equal(1, app.Registry.Count);
        other.Receives("still here");
        await Eventually.True(() => other.Sent.Count == 1);
        Assert.Empty(app.Errors);
    }

    [Fact]
    public async Task Send_Fails_EndsOnlyThatConnectionWithoutErrorLog()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var failing = new ScriptedSocket { Sending = () => throw new IOException("broken pipe") };
        var other = new ScriptedSocket();
        var (served, _) = await app.ConnectAsync(failing);
        await app.ConnectAsync(other);
        other.Receives("one");
        await served.Ended;
        other.Receives("two");
        await Eventually.True(() => other.Sent.Count == 2);
        Assert.Equal(["one", "two"], other.SentTexts);
        Assert.True(failing.IsAborted);
        Assert.Equal(1, app.Registry.Count);
        Assert.Empty(app.Errors);
    }

    [Fact]
    public async Task Send_FailsAsynchronously_EndsConnection()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var result = new TaskCompletionSource();
        var failing = new ScriptedSocket { Sending = () => result.Task };
        var (served, _) = await app.ConnectAsync(failing);
        await app.Broadcaster.PublishAsync("x", cancellationToken: TestContext.Current.CancellationToken);
        await Eventually.True(() => failing.Pending == 1);
        result.SetException(new IOException("reset"));
        await served.Ended;
        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task Send_NeverCompletes_DelaysNoOtherConnection()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var stuck = new ScriptedSocket { Sending = () => new TaskCompletionSource().Task };
        var others = Enumerable.Range(0, 8).Select(_ => new ScriptedSocket()).ToArray();
        await app.ConnectAsync(stuck);
        foreach (var other in others) await app.ConnectAsync(other);
        for (var i = 0; i < 100; i++)
        {
            var published = await app.Broadcaster.PublishAsync($"{i}", cancellationToken: TestContext.Current.CancellationToken);
            Assert.Equal(9, published.LocalRecipients);
        }

        foreach (var other in others) await Eventually.True(() => other.Sent.Count == 100);
        Assert.Equal(1, stuck.Pending);
        Assert.Empty(stuck.Sent);
    }

    [Fact]
    public async Task Backlog_OverLimit_ClosesWithCode1013AfterPendingSend()
    {
        await using var app = await InMemoryApp.StartManualAsync(Small);
        var release = new TaskCompletionSource();
        var stuck = new ScriptedSocket { Sending = () => release.Task };
        var (served, connection) = await app.ConnectAsync(stuck);
        await PublishAsync(app, "first");
        await Eventually.True(() => stuck.Pending == 1);
        for (var i = 0; i < 10; i++) await PublishAsync(app, new string('x', 500));
        await Eventually.True(() => connection.Writer.ClosingStatus is not null);
        Assert.Equal(1013, (int)connection.Writer.ClosingStatus!);
        release.SetResult();
        await served.Ended;
        Assert.Equal(["first"], stuck.SentTexts);
        await stuck.Socket.Received(1).CloseOutputAsync((WebSocketCloseStatus)1013, Arg.Any<string?>(), Arg.Any<CancellationToken>());
        Assert.Single(app.Logs, record => record.Id.Id == 8);
    }

    [Fact]
    public async Task Backlog_OverLimitAndSendNeverCompletes_AbortsAfterCloseTimeout()
    {
        await using var app = await InMemoryApp.StartManualAsync(Small);
        var stuck = new ScriptedSocket { Sending = () => new TaskCompletionSource().Task };
        var (served, connection) = await app.ConnectAsync(stuck);
        await PublishAsync(app, "first");
        await Eventually.True(() => stuck.Pending == 1);
        for (var i = 0; i < 10; i++) await PublishAsync(app, new string('x', 500));
        await Eventually.True(() => connection.Writer.ClosingStatus is not null);
        app.Time.Advance(TimeSpan.FromSeconds(5));
        await served.Ended;
        Assert.True(stuck.IsAborted);
        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task Backlog_StalledConnection_KeepsMemoryBounded()
    {
        await using var app = await InMemoryApp.StartManualAsync(Small);
        var stuck = new ScriptedSocket { Sending = () => new TaskCompletionSource().Task };
        await app.ConnectAsync(stuck);
        await PublishAsync(app, "first");
        await Eventually.True(() => stuck.Pending == 1);
        // The messages need 256 MiB in total. The server must free most of this memory.
        var message = new string('x', 2000);
        var before = GC.GetTotalMemory(forceFullCollection: true);
        for (var i = 0; i < 128 * 1024; i++) await PublishAsync(app, message);
        await Eventually.True(() => GC.GetTotalMemory(forceFullCollection: true) - before < 64 * 1024 * 1024);
    }

    [Fact]
    public async Task Backlog_WithinLimit_LosesNoMessage()
    {
        await using var app = await InMemoryApp.StartManualAsync(options =>
            options.KeepAliveInterval = options.SendTimeout = Timeout.InfiniteTimeSpan);
        var release = new TaskCompletionSource();
        var stuck = new ScriptedSocket { Sending = () => release.Task };
        await app.ConnectAsync(stuck);
        var texts = Enumerable.Range(0, 100).Select(i => $"{i}" + new string('x', 5000)).ToArray();
        foreach (var text in texts)
        {
            await PublishAsync(app, text);
            app.Time.Advance(TimeSpan.FromMinutes(1));
        }

        release.SetResult();
        await Eventually.True(() => stuck.Sent.Count == texts.Length);
        Assert.Equal(texts, stuck.SentTexts);
    }

    [Theory]
    [InlineData(100, 100)]
    [InlineData(5000, 5000)]
    public async Task MaxMessageBytes_MessageOfMaximumSize_IsAccepted(int limit, int size)
    {
        await using var app = await InMemoryApp.StartManualAsync(options => (options.MaxMessageBytes, options.MaxBacklogBytes) = (limit, 10_000));
        var socket = new ScriptedSocket();
        await app.ConnectAsync(socket);
        socket.Receives(new byte[size], WebSocketMessageType.Binary);
        await Eventually.True(() => socket.Sent.Count == 1);
        Assert.Equal(size, socket.Sent.Single().Bytes.Length);
    }

    [Theory]
    [InlineData(100, 101)]
    [InlineData(100, 128)]
    [InlineData(100, 9000)]
    [InlineData(5000, 5001)]
    public async Task MaxMessageBytes_Exceeded_ClosesWithCode1009AndPublishesNothing(int limit, int size)
    {
        await using var app = await InMemoryApp.StartManualAsync(options => (options.MaxMessageBytes, options.MaxBacklogBytes) = (limit, 10_000));
        var (socket, other) = (new ScriptedSocket(), new ScriptedSocket());
        var (served, _) = await app.ConnectAsync(socket);
        await app.ConnectAsync(other);
        socket.Receives(new byte[size], WebSocketMessageType.Binary);
        await served.Ended;
        await socket.Socket.Received(1).CloseOutputAsync(
            WebSocketCloseStatus.MessageTooBig, Arg.Is<string?>(reason => reason!.Contains("MaxMessageBytes")), Arg.Any<CancellationToken>());
        await PublishAsync(app, "end");
        await Eventually.True(() => !other.Sent.IsEmpty);
        Assert.Equal(["end"], other.SentTexts);
        Assert.Empty(app.Errors);
    }

    [Fact]
    public async Task MaxMessageBytes_ExceededByFragments_ClosesWithCode1009()
    {
        await using var app = await InMemoryApp.StartManualAsync(options => options.MaxMessageBytes = 1000);
        var socket = new ScriptedSocket();
        var (served, _) = await app.ConnectAsync(socket);
        for (var i = 0; i < 11; i++) socket.Receives(new byte[100], WebSocketMessageType.Binary, end: false);
        await Eventually.True(() => served.Task.IsCompleted || socket.Socket.ReceivedCalls().Any(call => call.GetMethodInfo().Name == "CloseOutputAsync"));
        await served.Ended;
        await socket.Socket.Received(1).CloseOutputAsync(WebSocketCloseStatus.MessageTooBig, Arg.Any<string?>(), Arg.Any<CancellationToken>());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(63)]
    public async Task MaxSmallFragments_Exceeded_ClosesWithCode1009(int size)
    {
        await using var app = await InMemoryApp.StartManualAsync(options => options.MaxSmallFragments = 10);
        var socket = new ScriptedSocket();
        var (served, _) = await app.ConnectAsync(socket);
        for (var i = 0; i < 11; i++) socket.Receives(new byte[size], WebSocketMessageType.Binary, end: false);
        await served.Ended;
        await socket.Socket.Received(1).CloseOutputAsync(
            WebSocketCloseStatus.MessageTooBig, Arg.Is<string?>(reason => reason!.Contains("MaxSmallFragments")), Arg.Any<CancellationToken>());
    }

    [Fact]
    public async Task MaxSmallFragments_ReachedByEachMessage_AcceptsMessages()
    {
        await using var app = await InMemoryApp.StartManualAsync(options => options.MaxSmallFragments = 10);
        var socket = new ScriptedSocket();
        await app.ConnectAsync(socket);
        for (var message = 0; message < 3; message++)
        {
            for (var i = 0; i < 10; i++) socket.Receives([1], WebSocketMessageType.Binary, end: false);
            socket.Receives([2], WebSocketMessageType.Binary, end: true);
        }

        await Eventually.True(() => socket.Sent.Count == 3);
        Assert.All(socket.Sent, message => Assert.Equal([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2], message.Bytes));
    }

    [Fact]
    public async Task MaxSmallFragments_LargeFragments_AreNotCounted()
    {
        await using var app = await InMemoryApp.StartManualAsync(options => options.MaxSmallFragments = 1);
        var socket = new ScriptedSocket();
        await app.ConnectAsync(socket);
        for (var i = 0; i < 20; i++) socket.Receives(new byte[64], WebSocketMessageType.Binary, end: i == 19);
        await Eventually.True(() => socket.Sent.Count == 1);
        Assert.Equal(20 * 64, socket.Sent.Single().Bytes.Length);
    }

    [Fact]
    public async Task Request_NotAWebSocket_IsRefusedWithStatus426AndHint()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var served = app.Serve(configure: context => context.Request.Protocol = HttpProtocol.Http11);
        await served.Ended;
        Assert.Equal(StatusCodes.Status426UpgradeRequired, served.Context.Response.StatusCode);
        Assert.Equal("websocket", served.Context.Response.Headers.Upgrade);
        Assert.Contains("ws://", served.Body, StringComparison.Ordinal);
        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task Handshake_UpgradeFeatureCannotUpgrade_UsesServerWebSocket()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var socket = new ScriptedSocket();
        var upgrade = Substitute.For<IHttpUpgradeFeature>();
        upgrade.IsUpgradableRequest.Returns(false);
        var served = app.Serve(socket, context => context.Features.Set(upgrade));
        await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == 1);
        socket.ReceivesClose();
        await served.Ended;
        await upgrade.DidNotReceive().UpgradeAsync();
    }

    [Fact]
    public async Task Request_UpgradeToOtherProtocol_IsRefusedWithStatus400()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var upgrade = Substitute.For<IHttpUpgradeFeature>();
        upgrade.IsUpgradableRequest.Returns(true);
        var served = app.Serve(configure: context =>
        {
            context.Request.Method = "GET";
            context.Request.Protocol = HttpProtocol.Http11;
            context.Request.Headers.Connection = "Upgrade";
            context.Request.Headers.Upgrade = "h2c";
            context.Features.Set(upgrade);
        });
        await served.Ended;
        Assert.Equal(StatusCodes.Status400BadRequest, served.Context.Response.StatusCode);
        await upgrade.DidNotReceive().UpgradeAsync();
    }

    [Fact]
    public async Task RequestTimeout_AcceptedConnection_IsDisabled()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var timeout = Substitute.For<IHttpRequestTimeoutFeature>();
        var socket = new ScriptedSocket();
        var served = app.Serve(socket, context => context.Features.Set(timeout));
        socket.ReceivesClose();
        await served.Ended;
        timeout.Received(1).DisableTimeout();
    }

    [Fact]
    public async Task RequestTimeout_RefusedRequest_StaysEnabled()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var timeout = Substitute.For<IHttpRequestTimeoutFeature>();
        await app.Serve(configure: context => context.Features.Set(timeout)).Ended;
        timeout.DidNotReceive().DisableTimeout();
    }

    [Fact]
    public async Task KeepAliveOptions_ServerWebSocket_ArePassedToAcceptAsync()
    {
        await using var app = await InMemoryApp.StartManualAsync(options =>
            (options.KeepAliveInterval, options.KeepAliveTimeout) = (TimeSpan.FromSeconds(7), TimeSpan.FromSeconds(8)));
        var socket = new ScriptedSocket();
        var served = app.Serve(socket);
        socket.ReceivesClose();
        await served.Ended;
        await served.Context.Features.GetRequiredFeature<IHttpWebSocketFeature>().Received(1).AcceptAsync(
            Arg.Is<WebSocketAcceptContext>(accept =>
                accept.KeepAliveInterval == TimeSpan.FromSeconds(7) && accept.KeepAliveTimeout == TimeSpan.FromSeconds(8)));
    }

    [Fact]
    public async Task Handshake_Fails_LeavesNoConnectionOrGroup()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var handshake = Substitute.For<IHttpWebSocketFeature>();
        handshake.IsWebSocketRequest.Returns(true);
        handshake.AcceptAsync(Arg.Any<WebSocketAcceptContext>()).Returns<WebSocket>(_ => throw new IOException("gone"));
        var served = app.Serve(configure: context => context.Features.Set(handshake));
        await Assert.ThrowsAsync<IOException>(() => served.Ended);
        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(0, app.GroupCount);
    }

    [Fact]
    public async Task AppStops_OpenConnection_ClosesWithCode1001AndRefusesNewConnections()
    {
        await using var app = await InMemoryApp.StartManualAsync();
        var socket = new ScriptedSocket();
        var (served, _) = await app.ConnectAsync(socket);
        app.StopApplication();
        await served.Ended;
        await socket.Socket.Received(1).CloseOutputAsync(WebSocketCloseStatus.EndpointUnavailable, Arg.Any<string?>(), Arg.Any<CancellationToken>());
        var late = app.Serve(new ScriptedSocket());
        await late.Ended;
        Assert.Equal(StatusCodes.Status503ServiceUnavailable, late.Context.Response.StatusCode);
    }

    static void Small(BroadcastOptions options) => (options.MaxMessageBytes, options.MaxBacklogBytes) = (1024, 2048);

    static async Task PublishAsync(InMemoryApp app, string text) =>
        await app.Broadcaster.PublishAsync(text, cancellationToken: TestContext.Current.CancellationToken);
}
