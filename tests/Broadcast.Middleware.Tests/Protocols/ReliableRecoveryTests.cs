using System.Net.WebSockets;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests that a disconnected client can reconnect without missing a message.</summary>
public sealed class ReliableRecoveryTests
{
    readonly RecoveryClock _clock = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Reconnect_UnacknowledgedMessages_AreSentAgainWithSameIds()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1", "2", "3");
        var before = await client.ReceivesAsync("1", "2", "3");
        await client.AcknowledgedAsync(app, before[0].Id);

        client.Disconnect();
        await _clock.WaitsAsync();
        Assert.Equal((1, 1), (app.Registry.Count, app.Registry.CountGroupMembers("/ws")));
        await app.PublishAsync("4");
        await using var again = await client.ReconnectAsync(app);

        var after = await again.ReceivesAsync("2", "3", "4");
        Assert.Equal(before[1..].Select(message => message.Text), after[..2].Select(message => message.Text));
        await app.PublishToAsync(Recipients.Group("/ws"), "5");
        await again.ReceivesAsync("5");
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
        Assert.Equal(1, app.Registry.Count);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Reconnect_Repeatedly_UsesNewestTokenEachTime()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        using var meters = new Meters(app);
        var client = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("kept");
        var kept = await client.ReceivesAsync("kept");
        var tokens = new HashSet<string>();
        for (var i = 1; i <= 10; i++)
        {
            Assert.True(tokens.Add(client.Token!));
            // The token has 256 bits in base64url.
            Assert.Equal(43, client.Token!.Length);
            client.Disconnect();
            await _clock.WaitsAsync(i);
            client = await client.ReconnectAsync(app);
            Assert.Equal(kept, await client.ReceivesAsync("kept"));
        }

        await JsonClient.ReceivesNothingElseAsync(client.Transport);
        Assert.Equal((1, 0), (meters.Sum(Meters.Connections), meters.Sum(Meters.Ended)));
        await client.DisposeAsync();
    }

    [Fact]
    public async Task PreviousToken_NoNewMessageAcknowledged_StaysValid()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("old");
        await client.ReceivesAsync("old");

        await using var unheard = await client.ReconnectAsync(app);
        // An acknowledgement of an old message does not prove that the client has received the new token.
        await unheard.ReceivesAsync("old");
        await unheard.AcknowledgedAsync(app);
        await using var again = await client.ReconnectAsync(app);
        // The second reconnect replaced the token of the first reconnect.
        await unheard.IsRefusedAsync(app);
        await app.PublishAsync("new");
        await again.ReceivesAsync("new");
        await again.AcknowledgedAsync(app);

        await client.IsRefusedAsync(app);
        await using var last = await again.ReconnectAsync(app);
        await JsonClient.ReceivesNothingElseAsync(last.Transport);
    }

    [Fact]
    public async Task PreviousToken_NextTokenUsed_IsRefused()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var first = await ReliableClient.OpenAsync(app);
        await using var second = await first.ReconnectAsync(app);
        await using var third = await second.ReconnectAsync(app);

        await first.IsRefusedAsync(app);

        // The refused attempt does not affect the connected client.
        await JsonClient.ReceivesNothingElseAsync(third.Transport);
    }

    [Fact]
    public async Task Reconnect_OldTransportOpen_ResetsOldTransport()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1");
        await client.ReceivesAsync("1");

        await using var again = await client.ReconnectAsync(app);

        Assert.Equal(TransportEnd.Reset, await client.Transport.ReadEndAsync());
        await app.PublishAsync("2");
        await again.ReceivesAsync("1", "2");
        Assert.Equal(1, app.Registry.Count);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Reconnect_OldTransportStalled_ReplacesOldTransport()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, configure: Stall.SmallSendBuffers);
        using var meters = new Meters(app);
        await using var client = await ReliableClient.OpenAsync(app, receiveBuffer: Stall.SmallWindow);
        await app.PublishAsync("first");
        var filled = await Stall.FillAsync(app, meters, client.Id);

        await using var again = await client.ReconnectAsync(app);

        await again.ReceivesAsync("first");
        for (var i = 0; i < filled; i++) await again.ReadAsync();
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
    }

    [Theory]
    [InlineData("reset")]
    [InlineData("finish")]
    [InlineData("half a message")]
    [InlineData("close without a code")]
    [InlineData("no pong")]
    public async Task Session_AnyDisconnect_WaitsForReconnect(string disconnect)
    {
        await using var app = await BroadcastApp.StartReliableAsync(
            _clock, options => options.KeepAliveInterval = options.KeepAliveTimeout = TimeSpan.FromSeconds(4));
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1");
        await client.ReceivesAsync("1");
        switch (disconnect)
        {
            case "reset":
                client.Disconnect();
                break;
            case "finish":
                client.Transport.Finish();
                break;
            case "half a message":
                await client.Transport.SendAsync(ClientFrame.Make(ClientFrame.Text, "half"u8, declared: 1000));
                client.Transport.Finish();
                break;
            case "close without a code":
                await client.Transport.SendAsync(ClientFrame.Make(ClientFrame.Close, []));
                Assert.Equal(1000, (await client.Transport.ReadFrameAsync()).CloseCode);
                await client.Transport.DisposeAsync();
                break;
            default:
                // The client does not answer the ping.
                await Eventually.True(() =>
                {
                    _clock.Advance(TimeSpan.FromSeconds(1));
                    return _clock.Waits > 0;
                });
                break;
        }

        await _clock.WaitsAsync();
        Assert.Equal(1, app.Registry.Count);
        await app.PublishAsync("2");
        await using var again = await client.ReconnectAsync(app);
        await again.ReceivesAsync("1", "2");
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Answers_AfterReconnect_AreNotSentAgain()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        // The client loses the answers between these messages. After the reconnect, the server sends only the messages again.
        await app.PublishToAsync(Recipients.Connection(client.Id), "0");
        await client.ReceivesAsync("0");
        await client.SendTextAsync(
            """{"type":"ping"}""", """{"type":"sendToGroup","group":"/ws","ackId":7,"data":1}""", """{"type":"sendToGroup","group":"/ws","ackId":7,"data":1}""");
        await JsonClient.ReceivesAsync(client.Transport, """{"type":"pong"}""");
        await client.ReceivesAsync("1");
        await JsonClient.SucceedsAsync(client.Transport, 7);
        await JsonClient.FailsAsync(client.Transport, 7, "Duplicate");
        await app.PublishToAsync(Recipients.Connection(client.Id), "2");
        client.Disconnect();

        await using var again = await client.ReconnectAsync(app);

        await again.ReceivesAsync("0", "1", "2");
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
        // The request took effect on the old transport. So the repeated request is a duplicate on the new transport.
        await again.SendTextAsync("""{"type":"sendToGroup","group":"/ws","ackId":7,"data":1}""");
        await JsonClient.FailsAsync(again.Transport, 7, "Duplicate");
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
    }

    [Fact]
    public async Task Reconnect_ClientLeftGroup_ReplaysOnlyMessagesBeforeLeave()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await client.SendTextAsync("""{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.SucceedsAsync(client.Transport, 1);
        await app.PublishToAsync(Recipients.Group("g"), "in");
        await client.ReceivesAsync("in");
        await client.SendTextAsync("""{"type":"leaveGroup","group":"g","ackId":2}""");
        await JsonClient.SucceedsAsync(client.Transport, 2);
        await app.PublishToAsync(Recipients.Group("g"), "out");
        await client.SendTextAsync("""{"type":"joinGroup","group":"g","ackId":3}""");
        await JsonClient.SucceedsAsync(client.Transport, 3);
        await app.PublishToAsync(Recipients.Group("g"), "in again");
        var last = await client.ReceivesAsync("in again");

        client.Disconnect();
        await _clock.WaitsAsync();
        // The app removes the connection from the group while the client is disconnected.
        await app.Broadcaster.LeaveAsync(client.Id, "g", Token);
        await app.PublishToAsync(Recipients.Group("g"), "out again");
        await app.Broadcaster.JoinAsync(client.Id, "h", Token);
        await app.PublishToAsync(Recipients.Group("h"), "other");
        await using var again = await client.ReconnectAsync(app);

        await again.ReceivesAsync("in", "in again", "other");
        Assert.True(again.LastId > last[0].Id);
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
        // After the client has left a group and acknowledged its messages, the server frees these messages.
        await again.AcknowledgedAsync(app);
        await using var late = await again.ReconnectAsync(app);
        await JsonClient.ReceivesNothingElseAsync(late.Transport);
    }

    [Fact]
    public async Task Reconnect_PrivateMessages_AreSentAgainInOrder()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, map: app => app.MapBroadcast("/ws").Use(async (context, next) =>
        {
            await next(context);
            await context.ReplyAsync("for you");
        }));
        await using var other = await ReliableClient.OpenAsync(app);
        await using var client = await ReliableClient.OpenAsync(app, headers: TestUsers.As("ann"));
        await app.PublishAsync("1");
        await app.PublishToAsync(Recipients.Connection(client.Id), "2");
        await client.SendTextAsync("""{"type":"sendToGroup","group":"/ws","dataType":"text","data":"3"}""");
        var before = await client.ReceivesAsync("1", "2", "3", "for you");
        await app.PublishToAsync(Recipients.User("ann"), "5");
        client.Disconnect();
        await _clock.WaitsAsync();
        await app.PublishToAsync(Recipients.Connection(client.Id), "6");
        await app.PublishAsync("7");

        await using var again = await client.ReconnectAsync(app);

        var after = await again.ReceivesAsync("1", "2", "3", "for you", "5", "6", "7");
        Assert.Equal(before, after[..4]);
        await other.ReceivesAsync("1", "3", "7");
    }

    [Fact]
    public async Task Reconnect_MessageToSeveralGroups_IsSentAgainOnce()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await client.SendTextAsync("""{"type":"joinGroup","group":"g"}""", """{"type":"joinGroup","group":"h","ackId":1}""");
        await JsonClient.SucceedsAsync(client.Transport, 1);
        await app.PublishToAsync(Recipients.Group("h"), "1");
        await app.PublishToAsync(Recipients.Groups("g", "h", "/ws"), "2");
        await app.PublishToAsync(Recipients.Groups("h", "g"), "3");
        await client.ReceivesAsync("1", "2", "3");
        await client.AcknowledgedAsync(app, client.LastId - 2);
        client.Disconnect();
        await _clock.WaitsAsync();
        await app.PublishToAsync(Recipients.Groups("g", "h"), "4");

        await using var again = await client.ReconnectAsync(app);

        await again.ReceivesAsync("2", "3", "4");
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
    }

    [Fact]
    public async Task Reconnect_AfterHistoryOfLateJoin_NeedsLaterAcknowledgement()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, options => options.Groups["g"] = new() { HistoryMessages = 10, ReplayOnJoin = 10 });
        await app.PublishToAsync(Recipients.Group("g"), "h1", "h2");
        await using var lost = await ReliableClient.OpenAsync(app);
        await using var careful = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("live");
        foreach (var client in new[] { lost, careful })
        {
            await client.ReceivesAsync("live");
            await client.AcknowledgedAsync(app);
            await client.SendTextAsync("""{"type":"joinGroup","group":"g","ackId":1}""");
            foreach (var data in new[] { "h1", "h2" })
            {
                var message = ReliableMessage.Parse(await JsonClient.ReadAsync(client.Transport));
                Assert.Equal((null, data), (message.Id, message.Data));
            }

            await JsonClient.SucceedsAsync(client.Transport, 1);
        }

        await app.PublishAsync("later");
        foreach (var client in new[] { lost, careful }) await client.ReceivesAsync("later");
        await careful.AcknowledgedAsync(app);

        lost.Disconnect();
        careful.Disconnect();

        await using var again = await careful.ReconnectAsync(app);
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
        await lost.IsRefusedAsync(app);
        await Eventually.True(() => app.Registry.Count == 1);
    }

    [Fact]
    public async Task History_ReplayedOnConnect_HasSequenceIds()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, options => options.Groups["/ws"] = new() { HistoryMessages = 10, ReplayOnJoin = 2 });
        await app.PublishToAsync(Recipients.Group("/ws"), "0", "1", "2");
        var transport = await ReliableClient.AskAsync(app, null, null);
        var id = await JsonClient.IdAsync(transport);
        Assert.NotNull(ReliableMessage.Parse(await JsonClient.ReadAsync(transport)).Id);
        Assert.Equal("2", ReliableMessage.Parse(await JsonClient.ReadAsync(transport)).Data);
        await transport.DisposeAsync();
        Assert.NotNull(app.Registry.Find(id));
    }

    [Fact]
    public async Task Reconnect_After100000MessagesWithoutEcho_ResumesSession()
    {
        const int Messages = 100_000, Batch = 1_000;
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        var batch = ClientFrame.CreateText("""{"type":"sendToGroup","group":"/ws","noEcho":true,"dataType":"text","data":"to the others"}""");
        batch = [.. Enumerable.Repeat(batch, Batch).SelectMany(frame => frame)];
        for (var sent = 0; sent < Messages; sent += Batch)
        {
            await client.Transport.SendAsync(batch);
            await JsonClient.ReceivesNothingElseAsync(client.Transport);
            // A heartbeat passes after every tenth batch.
            if (sent % (10 * Batch) == 0) _clock.Advance(TimeSpan.FromSeconds(3));
        }

        client.Disconnect();
        await _clock.WaitsAsync();
        await app.PublishAsync("for you");

        await using var again = await client.ReconnectAsync(app);
        await again.ReceivesAsync("for you");
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
    }

    [Fact]
    public async Task Reconnect_OwnMessagesSinceLastHeartbeat_ResumesSession()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, options => options.MaxUnacknowledgedBytes = 16 * 1024);
        await using var client = await ReliableClient.OpenAsync(app);
        await SendToOthersAsync(client, 40);

        client.Disconnect();

        await _clock.WaitsAsync();
        await using var again = await client.ReconnectAsync(app);
    }

    [Fact]
    public async Task Reconnect_OwnMessagesOverLimit_ResumesSessionAfterTwoHeartbeats()
    {
        // A log keeps MaxBacklogBytes for slow readers and another MaxUnacknowledgedBytes for resends.
        await using var app = await BroadcastApp.StartReliableAsync(
            _clock, options => (options.MaxBacklogBytes, options.MaxUnacknowledgedBytes) = (64 * 1024, 16 * 1024));
        await using var client = await ReliableClient.OpenAsync(app);
        await SendToOthersAsync(client, 400);
        await BeatAsync(app, client);
        await BeatAsync(app, client);

        client.Disconnect();

        await using var again = await client.ReconnectAsync(app);
        await app.PublishAsync("for you");
        await again.ReceivesAsync("for you");
    }

    [Fact]
    public async Task HttpContext_Reconnect_ReplacesRequestAndServices()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, configure: builder =>
        {
            BroadcastApp.KeepRequestsOpen(builder);
            builder.Services.AddScoped<object>();
        });
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann"), ("X-Line", "1")]);
        var connection = client.ConnectionOf(app);
        var services = connection.HttpContext.RequestServices.GetRequiredService<object>();

        client.Disconnect();
        await _clock.WaitsAsync();

        // The connection keeps its properties while it has no request.
        Assert.Equal(("/ws", "ann"), (connection.HomeGroup, connection.UserId));
        Assert.Equal("ann", connection.User.Identity is { IsAuthenticated: true } ? connection.UserId : null);
        var transport = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("ann"), ("X-Line", "2")]);
        await using var again = await client.ReconnectAsync(transport);
        Assert.Equal("2", connection.HttpContext.Request.Headers["X-Line"].ToString());
        Assert.NotSame(services, connection.HttpContext.RequestServices.GetRequiredService<object>());
        Assert.False(connection.HttpContext.RequestAborted.IsCancellationRequested);
    }

    [Fact]
    public async Task ConnectAndDisconnectFilters_Reconnect_RunOncePerSession()
    {
        var (connects, disconnects) = (0, new List<(string, WebSocketCloseStatus?)>());
        await using var app = await BroadcastApp.StartReliableAsync(_clock, map: app => app.MapBroadcast("/ws")
            .UseConnect((context, next) =>
            {
                Interlocked.Increment(ref connects);
                return next(context);
            })
            .UseDisconnect((context, next) =>
            {
                lock (disconnects) disconnects.Add((context.Connection.Id, context.Status));
                return next(context);
            }));
        await using var client = await ReliableClient.OpenAsync(app);
        client.Disconnect();
        await _clock.WaitsAsync();
        await using var again = await client.ReconnectAsync(app);
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
        Assert.Equal(1, connects);
        Assert.Empty(disconnects);

        await again.Transport.LeaveAsync();

        await app.IsEmptyAsync();
        await Eventually.True(() => disconnects.Count > 0);
        Assert.Equal((client.Id, WebSocketCloseStatus.NormalClosure), Assert.Single(disconnects));
        Assert.Equal(1, connects);
        await again.IsRefusedAsync(app);
    }

    [Fact]
    public async Task Reply_AfterReconnect_UsesNewTransport()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, map: app => app.MapBroadcast("/ws").Use(async (context, next) =>
        {
            await context.ReplyAsync(((Connection)context.Connection).HttpContext.Request.Headers["X-Line"].ToString());
            await next(context);
        }), configure: BroadcastApp.KeepRequestsOpen);
        await using var client = await ReliableClient.OpenAsync(app, headers: [("X-Line", "1")]);
        await client.SendTextAsync("""{"type":"sendToGroup","group":"/ws","data":1}""");
        await client.ReceivesAsync("1", "1");
        await client.AcknowledgedAsync(app);
        await using var again = await client.ReconnectAsync(await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [("X-Line", "2")]));

        await again.SendTextAsync("""{"type":"sendToGroup","group":"/ws","data":2}""");

        await again.ReceivesAsync("2", "2");
    }

    [Fact]
    public async Task Reconnect_Http2_ResumesSession()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, protocols: HttpProtocols.Http2);
        using var http2 = new Http2Client(app);
        using var other = new Http2Client(app);
        await using var client = await http2.HandshakeAsync("/ws", ReliableClient.Subprotocol);
        var (id, token) = await ReadConnectedAsync(client);
        await client.JoinedAsync();
        await app.PublishAsync("1");
        Assert.Equal("1", ReliableMessage.Parse(await JsonClient.ReadAsync(client)).Data);
        Assert.Equal("HTTP/2", app.Registry.Connections.Single().HttpContext.Request.Protocol);
        await client.DisposeAsync();
        await _clock.WaitsAsync();
        await app.PublishAsync("2");

        await using var again = await http2.HandshakeAsync($"/ws?awps_connection_id={id}&awps_reconnection_token={token}", ReliableClient.Subprotocol);
        Assert.Equal(id, (await ReadConnectedAsync(again)).Id);
        foreach (var data in new[] { "1", "2" }) Assert.Equal(data, ReliableMessage.Parse(await JsonClient.ReadAsync(again)).Data);

        // The old transport stays open. The client then resets the whole HTTP/2 connection of the new transport.
        await using var third = await other.HandshakeAsync($"/ws?awps_connection_id={id}&awps_reconnection_token={token}", ReliableClient.Subprotocol);
        var (_, newest) = await ReadConnectedAsync(third);
        other.Reset();
        await _clock.WaitsAsync(2);
        await using var fourth = await http2.HandshakeAsync($"/ws?awps_connection_id={id}&awps_reconnection_token={newest}", ReliableClient.Subprotocol);
        await ReadConnectedAsync(fourth);
        foreach (var data in new[] { "1", "2" }) Assert.Equal(data, ReliableMessage.Parse(await JsonClient.ReadAsync(fourth)).Data);
        await using var refused = await http2.HandshakeAsync($"/ws?awps_connection_id={id}&awps_reconnection_token={token}", ReliableClient.Subprotocol);
        Assert.Equal(1008, (await refused.ReadFrameAsync()).CloseCode);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Reconnect_TestServerWebSockets_ResumesSession()
    {
        await using var app = await InMemoryApp.StartAsync(builder => builder.Services.AddSingleton<TimeProvider>(_clock), options: options =>
            (options.RecoveryTimeout, options.KeepAliveInterval) = (RecoveryClock.Timeout, Timeout.InfiniteTimeSpan));
        using var client = await OpenAsync("/ws");
        var (id, token) = ParseConnected(await ReceiveTextAsync(client));
        await app.Broadcaster.PublishAsync("1", cancellationToken: Token);
        var first = ReliableMessage.Parse(await ReceiveTextAsync(client));
        client.Abort();
        await _clock.WaitsAsync();
        await app.Broadcaster.PublishAsync("2", cancellationToken: Token);

        using var again = await OpenAsync($"/ws?awps_connection_id={id}&awps_reconnection_token={token}");

        Assert.Equal(id, ParseConnected(await ReceiveTextAsync(again)).Id);
        Assert.Equal(first, ReliableMessage.Parse(await ReceiveTextAsync(again)));
        Assert.Equal("2", ReliableMessage.Parse(await ReceiveTextAsync(again)).Data);
        using var refused = await OpenAsync($"/ws?awps_connection_id={id}&awps_reconnection_token=wrong");
        Assert.Equal(WebSocketMessageType.Close, (await refused.ReceiveAsync(new byte[1000], Token)).MessageType);
        Assert.Equal(WebSocketCloseStatus.PolicyViolation, refused.CloseStatus);
        // The client closes without a code and does not wait for the answer.
        await again.CloseOutputAsync(WebSocketCloseStatus.Empty, null, Token);
        await _clock.WaitsAsync(2);
        _clock.Expire();
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Empty(app.Errors);

        async Task<WebSocket> OpenAsync(string path) =>
            await app.OpenAsync(path, configure: request => request.Headers.SecWebSocketProtocol = ReliableClient.Subprotocol);

        static async Task<string> ReceiveTextAsync(WebSocket socket)
        {
            var buffer = new byte[1000];
            var received = await socket.ReceiveAsync(buffer, Token).WaitAsync(Eventually.Patience, Token);
            return Encoding.UTF8.GetString(buffer, 0, received.Count);
        }
    }

    static async Task<(string Id, string Token)> ReadConnectedAsync(RawClient transport) => ParseConnected(await JsonClient.ReadAsync(transport));

    static (string Id, string Token) ParseConnected(string connected)
    {
        using var document = System.Text.Json.JsonDocument.Parse(connected);
        return (document.RootElement.GetProperty("connectionId").GetString()!, document.RootElement.GetProperty("reconnectionToken").GetString()!);
    }

    static async Task SendToOthersAsync(ReliableClient client, int messages)
    {
        var data = new string('x', 1000);
        for (var i = 0; i < messages; i++)
        {
            // The pause after each 40 messages keeps the backlog below its limit.
            if (i % 40 == 0) await JsonClient.ReceivesNothingElseAsync(client.Transport);
            await client.SendTextAsync($$"""{"type":"sendToGroup","group":"/ws","noEcho":true,"dataType":"text","data":"{{data}}"}""");
        }

        await JsonClient.ReceivesNothingElseAsync(client.Transport);
    }

    async Task BeatAsync(BroadcastApp app, ReliableClient client)
    {
        _clock.Advance(TimeSpan.FromSeconds(3));
        await PumpBarrier.PassAsync(client.ConnectionOf(app).Writer.Pump);
        await PumpBarrier.PassAsync(client.ConnectionOf(app).Writer.Pump);
    }
}
