using System.Net.WebSockets;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests the JSON subprotocol with clients of a real server.</summary>
public sealed class JsonProtocolTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Handshake_JsonSubprotocol_IsEchoedBeforeConnectedEvent()
    {
        await using var app = await BroadcastApp.StartAsync(TestUsers.Add);
        await using var client = await RawClient.ConnectAsync(app);
        var answer = await client.HandshakeAsync("/ws", JsonClient.Offers(), TestUsers.As("ann"));
        Assert.Equal(JsonClient.Subprotocol, answer["Sec-WebSocket-Protocol"]);

        var connected = await JsonClient.ReadAsync(client);

        var id = app.Registry.Connections.Single().Id;
        Assert.Equal($$"""{"type":"system","event":"connected","userId":"ann","connectionId":"{{id}}"}""", connected);
    }

    [Theory]
    [InlineData(null, null)]
    [InlineData("json.reliable.webpubsub.azure.v1", "json.reliable.webpubsub.azure.v1")]
    [InlineData("chat, json.webpubsub.azure.v1, other", JsonClient.Subprotocol)]
    [InlineData("json.webpubsub.azure.v1,chat", JsonClient.Subprotocol)]
    public async Task Handshake_SubprotocolsOffered_SelectsKnownSubprotocolOrRaw(string? offered, string? taken)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);
        var answer = await client.HandshakeAsync("/ws", ("Sec-WebSocket-Protocol", offered));
        Assert.Equal((101, taken), (answer.Status, answer["Sec-WebSocket-Protocol"]));
        if (taken is not null)
        {
            await JsonClient.IdAsync(client);
            return;
        }

        await client.JoinedAsync();
        await JsonClient.SendTextAsync(client, """{"type":"ping"}""");
        await JsonClient.ReceivesAsync(client, """{"type":"ping"}""");
    }

    [Fact]
    public async Task Publish_DuringConnectFilter_ArrivesAfterConnectedEvent()
    {
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
        {
            await next(context);
            await context.Broadcaster.PublishAsync("all");
            await context.ReplyAsync("hello");
            await context.Broadcaster.PublishAsync("group", Recipients.Group("/ws"));
        }));
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync("/ws", JsonClient.Offers());
        await JsonClient.IdAsync(client);
        await JsonClient.ReceivesAsync(
            client, JsonClient.FromServer("text", "\"all\""), JsonClient.FromServer("text", "\"hello\""), JsonClient.FromServer("text", "\"group\""));
    }

    [Fact]
    public async Task Connect_RefusedByFilter_ClosesWithCode1008()
    {
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").UseConnect((_, _) => Task.CompletedTask));
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync("/ws", JsonClient.Offers());
        Assert.Equal("The server rejected the connection.", await JsonClient.EndsAsync(client, 1008));
    }

    [Fact]
    public async Task ConnectFilter_LeavesHomeGroup_ClientReceivesConnectedEvent()
    {
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
        {
            await next(context);
            await context.LeaveAsync(context.Connection.HomeGroup);
        }));
        // The leave races with the first turn of the pump.
        for (var i = 0; i < 50; i++)
        {
            await using var client = await RawClient.ConnectAsync(app);
            await client.HandshakeAsync("/ws", JsonClient.Offers());
            await JsonClient.IdAsync(client);
        }
    }

    [Fact]
    public async Task HomeGroup_LeftAndRejoined_SendsNoSecondConnectedEvent()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(
            client, """{"type":"leaveGroup","group":"/ws","ackId":1}""", """{"type":"joinGroup","group":"/ws","ackId":2}""");
        await JsonClient.SucceedsAsync(client, 1);
        await JsonClient.SucceedsAsync(client, 2);
        await app.Broadcaster.PublishAsync("hi", Recipients.Group("/ws"), cancellationToken: Token);
        await JsonClient.ReceivesAsync(client, JsonClient.FromServer("text", "\"hi\""));
    }

    [Fact]
    public async Task Group_JoinPublishLeave_DeliversToMembersOnly()
    {
        await using var app = await StartAsync();
        await using var ann = await JsonClient.OpenAsync(app, headers: TestUsers.As("ann"));
        await using var bob = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(ann, """{"type":"joinGroup","group":"g","ackId":1}""", """{"type":"joinGroup","group":"g","ackId":2}""");
        await JsonClient.SucceedsAsync(ann, 1);
        await JsonClient.SucceedsAsync(ann, 2);
        await JsonClient.SendTextAsync(bob, """{"type":"joinGroup","group":"g"}""");
        await JsonClient.ReceivesNothingElseAsync(bob);
        Assert.Equal(2, app.Registry.CountGroupMembers("g"));

        await JsonClient.SendTextAsync(
            ann,
            """{"type":"sendToGroup","group":"g","ackId":3,"dataType":"text","data":"hi"}""",
            """{"type":"sendToGroup","group":"g","ackId":4,"dataType":"json","data":{"a": [1.50]}}""",
            """{"type":"sendToGroup","group":"g","ackId":5,"dataType":"binary","data":"AQID"}""",
            """{"type":"sendToGroup","group":"g","data":null}""",
            """{"type":"sendToGroup","group":"g","ackId":6,"noEcho":true,"dataType":"Text","data":"others"}""",
            """{"type":"sendToGroup","group":"g","noEcho":false,"dataType":"Text","data":"end"}""");

        var text = JsonClient.FromGroup("g", "text", "\"hi\"", "ann");
        var json = JsonClient.FromGroup("g", "json", """{"a": [1.50]}""", "ann");
        var binary = JsonClient.FromGroup("g", "binary", "\"AQID\"", "ann");
        var nothing = JsonClient.FromGroup("g", "json", "null", "ann");
        var others = JsonClient.FromGroup("g", "text", "\"others\"", "ann");
        var end = JsonClient.FromGroup("g", "text", "\"end\"", "ann");
        await JsonClient.ReceivesAsync(
            ann, text, JsonClient.Success(3), json, JsonClient.Success(4), binary, JsonClient.Success(5), nothing, JsonClient.Success(6), end);
        await JsonClient.ReceivesAsync(bob, text, json, binary, nothing, others, end);

        await JsonClient.SendTextAsync(bob, """{"type":"leaveGroup","group":"g","ackId":1}""", """{"type":"leaveGroup","group":"g","ackId":2}""");
        await JsonClient.SucceedsAsync(bob, 1);
        await JsonClient.SucceedsAsync(bob, 2);
        await JsonClient.SendTextAsync(ann, """{"type":"sendToGroup","group":"g","ackId":7,"data":1}""");
        await JsonClient.ReceivesAsync(ann, JsonClient.FromGroup("g", "json", "1", "ann"), JsonClient.Success(7));
        await JsonClient.ReceivesNothingElseAsync(bob);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task DefaultAuthorizer_GroupRequests_AllowsOnlyPublishingToHomeGroup()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(
            client,
            """{"type":"joinGroup","group":"g","ackId":1}""",
            """{"type":"sendToGroup","group":"g","ackId":2,"data":1}""",
            """{"type":"joinGroup","group":"/ws","ackId":3}""",
            """{"type":"joinGroup","group":"g"}""",
            """{"type":"sendToGroup","group":"/ws","ackId":4,"data":1}""");
        await JsonClient.ReceivesAsync(client, """{"type":"ack","ackId":1,"success":false,"error":{"name":"Forbidden","message":"This client is not allowed to join the group."}}""");
        await JsonClient.ReceivesAsync(client, """{"type":"ack","ackId":2,"success":false,"error":{"name":"Forbidden","message":"This client is not allowed to publish to the group."}}""");
        await JsonClient.FailsAsync(client, 3, "Forbidden");
        await JsonClient.ReceivesAsync(client, JsonClient.FromGroup("/ws", "json", "1"), JsonClient.Success(4));
        Assert.Equal(0, app.Registry.CountGroupMembers("g"));
    }

    [Fact]
    public async Task CustomAuthorizer_AnyGroup_DecidesEachOperation()
    {
        await using var app = await StartAsync(new Rules((group, operation) => group == "in" ? operation == GroupOperation.Join : group == "out"));
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(
            client,
            """{"type":"joinGroup","group":"in","ackId":1}""",
            """{"type":"sendToGroup","group":"in","ackId":2,"data":1}""",
            """{"type":"sendToGroup","group":"out","ackId":3,"data":1}""",
            """{"type":"sendToGroup","group":"/ws","ackId":4,"data":1}""",
            """{"type":"joinGroup","group":"no","ackId":5}""",
            """{"type":"leaveGroup","group":"no","ackId":6}""");
        await JsonClient.SucceedsAsync(client, 1);
        await JsonClient.FailsAsync(client, 2, "Forbidden");
        await JsonClient.SucceedsAsync(client, 3);
        await JsonClient.FailsAsync(client, 4, "Forbidden");
        await JsonClient.FailsAsync(client, 5, "Forbidden");
        await JsonClient.SucceedsAsync(client, 6);
    }

    [Fact]
    public async Task NamedBroadcast_KeyedAuthorizer_IsUsed()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                builder.Services.AddBroadcast("chat");
                builder.Services.AddKeyedSingleton<IGroupAuthorizer>("chat", Rules.AllowAll);
            },
            app =>
            {
                app.MapBroadcast("/ws");
                app.MapBroadcast("/chat", "chat");
            });
        await using var plain = await JsonClient.OpenAsync(app);
        await using var chat = await RawClient.ConnectAsync(app);
        await chat.HandshakeAsync("/chat", JsonClient.Offers());
        await JsonClient.IdAsync(chat);
        await JsonClient.SendTextAsync(plain, """{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.SendTextAsync(chat, """{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.FailsAsync(plain, 1, "Forbidden");
        await JsonClient.SucceedsAsync(chat, 1);
    }

    [Theory]
    [InlineData("joinGroup", false)]
    [InlineData("sendToGroup", false)]
    [InlineData("joinGroup", true)]
    [InlineData("sendToGroup", true)]
    public async Task Authorizer_Throws_ClosesConnectionWithoutDetails(string type, bool isArgument)
    {
        await using var app = await StartAsync(new Rules((_, _) => throw (isArgument ? new ArgumentException("secret") : new InvalidOperationException("secret"))));
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(client, $$"""{"type":"{{type}}","group":"g","ackId":1,"data":1}""");
        await JsonClient.ReceivesAsync(
            client, """{"type":"ack","ackId":1,"success":false,"error":{"name":"InternalServerError","message":"The server failed to handle this request."}}""");
        await JsonClient.EndsAsync(client, 1011);
    }

    [Fact]
    public async Task Filter_ThrowsUnauthorizedAccess_IsReportedAsInternalServerError()
    {
        await using var app = await StartAsync(map: app => app.MapBroadcast("/ws").Use((_, _) => throw new UnauthorizedAccessException("Access to the path '/secret' is denied.")));
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(client, """{"type":"event","event":"e","ackId":1,"data":1}""");
        await JsonClient.FailsAsync(client, 1, "InternalServerError");
        await JsonClient.EndsAsync(client, 1011);
    }

    [Fact]
    public async Task Filter_Throws_ClosesWithCode1011()
    {
        await using var app = await StartAsync(map: app => app.MapBroadcast("/ws").Use((_, _) => throw new ArgumentException("boom")));
        await using var one = await JsonClient.OpenAsync(app);
        await using var other = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(one, """{"type":"sendToGroup","group":"g","ackId":1,"data":1}""");
        await JsonClient.FailsAsync(one, 1, "InternalServerError");
        await JsonClient.EndsAsync(one, 1011);
        await JsonClient.SendTextAsync(other, """{"type":"sendToGroup","group":"g","data":1}""");
        await JsonClient.EndsAsync(other, 1011);
    }

    [Fact]
    public async Task JoinGroup_OverMaxGroupsPerConnection_IsRejectedAsBadRequest()
    {
        await using var app = await StartAsync(options: options => options.MaxGroupsPerConnection = 2);
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(client, """{"type":"joinGroup","group":"a","ackId":1}""", """{"type":"joinGroup","group":"b","ackId":2}""");
        await JsonClient.SucceedsAsync(client, 1);
        await JsonClient.FailsAsync(client, 2, "BadRequest");
        await JsonClient.ReceivesNothingElseAsync(client);
    }

    [Fact]
    public async Task MalformedRequest_WithOrWithoutAckId_IsRejectedOrClosesConnection()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(
            client,
            """{"type":"joinGroup","group":"","ackId":1}""",
            """{"type":5,"group":"g","ackId":2}""",
            """{"type":"invoke","ackId":3}""",
            """{"type":"sendToGroup","group":"g","ackId":4,"dataType":"text","data":1}""");
        for (var ackId = 1; ackId <= 4; ackId++) await JsonClient.FailsAsync(client, ackId, "BadRequest");
        await JsonClient.SendTextAsync(client, """{"type":"joinGroup","group":""}""");
        Assert.Equal("The group name is empty. Use 1 to 255 characters.", await JsonClient.EndsAsync(client, 1008));

        await using var other = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(other, "hello");
        await JsonClient.EndsAsync(other, 1008);
        await using var third = await JsonClient.OpenAsync(app);
        await third.SendAsync(ClientFrame.Make(ClientFrame.Binary, "{\"type\":\"ping\"}"u8));
        await JsonClient.EndsAsync(third, 1003);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Request_AckIdRepeated_TakesEffectOnce()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        const string Send = """{"type":"sendToGroup","group":"/ws","ackId":1,"data":1}""";
        await JsonClient.SendTextAsync(client, Send, Send);
        await JsonClient.ReceivesAsync(client, JsonClient.FromGroup("/ws", "json", "1"), JsonClient.Success(1));
        await JsonClient.FailsAsync(client, 1, "Duplicate");
        await JsonClient.ReceivesNothingElseAsync(client);
    }

    [Fact]
    public async Task Request_RepeatedAfterFailure_TakesEffect()
    {
        var isAllowed = false;
        await using var app = await StartAsync(new Rules((_, _) => Volatile.Read(ref isAllowed)));
        await using var client = await JsonClient.OpenAsync(app);
        const string Join = """{"type":"joinGroup","group":"g","ackId":1}""";
        await JsonClient.SendTextAsync(client, Join);
        await JsonClient.FailsAsync(client, 1, "Forbidden");
        Volatile.Write(ref isAllowed, true);
        await JsonClient.SendTextAsync(client, Join, Join);
        await JsonClient.SucceedsAsync(client, 1);
        await JsonClient.FailsAsync(client, 1, "Duplicate");
    }

    [Fact]
    public async Task Request_AckIdAmongLast1000AckIds_IsRejectedAsDuplicate()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        var leave = Enumerable.Range(1, 1000).Select(id => $$"""{"type":"leaveGroup","group":"g","ackId":{{id}}}""").ToArray();
        await JsonClient.SendTextAsync(client, leave);
        for (var id = 1; id <= 1000; id++) await JsonClient.SucceedsAsync(client, id);
        await JsonClient.SendTextAsync(client, leave);
        for (var id = 1; id <= 1000; id++) await JsonClient.FailsAsync(client, id, "Duplicate");
    }

    [Fact]
    public async Task Event_AnyName_ReachesFiltersOnly()
    {
        await using var app = await StartAsync(map: app => app.MapBroadcast("/ws").Use(async (context, next) =>
        {
            if (context.Event == "greet") await context.ReplyAsync($"hello {context.Text} {context.Message.IsJson}");
            else await next(context);
        }));
        await using var client = await JsonClient.OpenAsync(app);
        await using var other = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(
            client,
            """{"type":"event","event":"greet","ackId":1,"dataType":"text","data":"ann"}""",
            """{"type":"event","event":"greet","data":{"a":1}}""",
            """{"type":"event","event":"other","ackId":2,"data":1}""",
            """{"type":"event","event":"other","data":1}""",
            """{"type":"sendToGroup","group":"/ws","ackId":3,"data":1}""");
        await JsonClient.ReceivesAsync(
            client, JsonClient.FromServer("text", "\"hello ann False\""), JsonClient.Success(1), JsonClient.FromServer("text", "\"hello {\\\"a\\\":1} True\""));
        await JsonClient.FailsAsync(client, 2, "BadRequest");
        var message = JsonClient.FromGroup("/ws", "json", "1");
        await JsonClient.ReceivesAsync(client, message, JsonClient.Success(3));
        await JsonClient.ReceivesAsync(other, message);
    }

    [Fact]
    public async Task Filter_RewritesMessage_KeepsSender()
    {
        await using var app = await StartAsync(map: app => app.MapBroadcast("/ws").Use((context, next) =>
        {
            Assert.Equal(Recipients.Group("g"), context.Recipients);
            context.Text = context.Text.ToUpperInvariant();
            context.Recipients = Recipients.Group("h");
            return next(context);
        }));
        await using var client = await JsonClient.OpenAsync(app, headers: TestUsers.As("ann"));
        await JsonClient.SendTextAsync(
            client,
            """{"type":"joinGroup","group":"h","ackId":1}""",
            """{"type":"sendToGroup","group":"g","ackId":2,"dataType":"text","data":"hi"}""",
            """{"type":"sendToGroup","group":"g","ackId":3,"data":{"a":1}}""");
        await JsonClient.ReceivesAsync(
            client,
            JsonClient.Success(1),
            JsonClient.FromGroup("h", "text", "\"HI\"", "ann"), JsonClient.Success(2),
            JsonClient.FromGroup("h", "text", "\"{\\\"A\\\":1}\"", "ann"), JsonClient.Success(3));
    }

    [Fact]
    public async Task Close_ByAppOrDrain_SendsDisconnectedEventBeforeCloseFrame()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await app.Broadcaster.PublishAsync("last", cancellationToken: Token);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, (WebSocketCloseStatus)4001, "Enough, \u00e9.", Token);
        await JsonClient.ReceivesAsync(client, JsonClient.FromServer("text", "\"last\""));
        Assert.Equal("Enough, é.", await JsonClient.EndsAsync(client, 4001));

        await using var drained = await JsonClient.OpenAsync(app);
        var stopping = app.StopAsync();
        await JsonClient.EndsAsync(drained, 1001);
        await stopping;
    }

    [Fact]
    public async Task SlowClient_OverBacklogLimit_ReceivesDisconnectedEventAndCloseCode1013()
    {
        await using var app = await BroadcastApp.StartAsync(Stall.SmallSendBuffers, options: options => options.MaxBacklogBytes = 64 * 1024);
        using var meters = new Meters(app);
        await using var client = await JsonClient.OpenAsync(app, receiveBuffer: Stall.SmallWindow);
        var id = app.Registry.Connections.Single().Id;
        await Stall.FillAsync(app, meters, id);
        for (var i = 0; i < 20; i++) await app.Broadcaster.PublishAsync(new byte[16 * 1024], cancellationToken: Token);
        await Eventually.True(() => app.Logs.GetSnapshot().Any(record => record.Message.Contains("1013", StringComparison.Ordinal)));
        string last = "";
        ServerFrame frame;
        while ((frame = await client.ReadFrameAsync()).Opcode == ClientFrame.Text) last = frame.Text;
        Assert.Equal((ClientFrame.Close, 1013), (frame.Opcode, frame.CloseCode));
        Assert.Equal($$"""{"type":"system","event":"disconnected","message":"{{frame.CloseReason}}"}""", last);
    }

    [Fact]
    public async Task Group_RawEventStreamAndJsonClients_ReceiveSameMessages()
    {
        await using var app = await StartAsync();
        await using var structured = await JsonClient.OpenAsync(app);
        await using var raw = await RawClient.OpenAsync(app);
        await using var events = await EventClient.OpenAsync(app);

        await JsonClient.SendTextAsync(
            structured,
            """{"type":"sendToGroup","group":"/ws","dataType":"text","data":"a\"b"}""",
            """{"type":"sendToGroup","group":"/ws","data":{"a": 1}}""",
            """{"type":"sendToGroup","group":"/ws","dataType":"binary","data":"AQID"}""");
        await JsonClient.ReceivesAsync(raw, "a\"b", """{"a": 1}""");
        var binary = await raw.ReadFrameAsync();
        Assert.Equal(ClientFrame.Binary, binary.Opcode);
        Assert.Equal([1, 2, 3], binary.Payload);
        Assert.Equal(["a\"b", """{"a": 1}"""], await events.ReceiveTextAsync(2));
        var next = await events.NextAsync();
        Assert.Equal(("binary", "AQID"), (next.Type, next.Data));
        await JsonClient.ReceivesAsync(
            structured,
            JsonClient.FromGroup("/ws", "text", "\"a\\\"b\""), JsonClient.FromGroup("/ws", "json", """{"a": 1}"""), JsonClient.FromGroup("/ws", "binary", "\"AQID\""));

        await raw.SendAsync(ClientFrame.CreateText("{\"a\":1}"), ClientFrame.Make(ClientFrame.Binary, [1, 2, 3]));
        await JsonClient.ReceivesAsync(structured, JsonClient.FromServer("text", "\"{\\\"a\\\":1}\""), JsonClient.FromServer("binary", "\"AQID\""));
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Publish_JsonMessage_ArrivesAsJson()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await using var raw = await RawClient.OpenAsync(app);
        await app.Broadcaster.PublishAsync(new Message("[1, 2]"u8.ToArray(), MessageType.Text) { IsJson = true }, cancellationToken: Token);
        await app.Broadcaster.PublishAsync(5, JsonContext.Default.Int32, Recipients.Groups("/ws", "g"), cancellationToken: Token);
        await app.Broadcaster.PublishAsync(Message.FromJson("é", JsonContext.Default.String), Recipients.Connection(app.Registry.Connections.First(c => ((Connection)c).Format != ProtocolDescriptor.Raw).Id), cancellationToken: Token);
        await JsonClient.ReceivesAsync(client, JsonClient.FromServer("json", "[1, 2]"), JsonClient.FromServer("json", "5"), JsonClient.FromServer("json", "\"\\u00E9\""));
        await JsonClient.ReceivesAsync(raw, "[1, 2]", "5");
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("[1] 2")]
    [InlineData("hello")]
    [InlineData("\"\n\"")]
    public async Task Publish_IsJsonWithInvalidPayloadOrBinaryType_Throws(string text)
    {
        await using var app = await StartAsync();
        var message = Message.FromText(text) with { IsJson = true };
        await Assert.ThrowsAsync<ArgumentException>(async () => await app.Broadcaster.PublishAsync(message, cancellationToken: Token));
        var binary = new Message("1"u8.ToArray(), MessageType.Binary) { IsJson = true };
        await Assert.ThrowsAsync<ArgumentException>(async () => await app.Broadcaster.PublishAsync(binary, cancellationToken: Token));
    }

    [Fact]
    public async Task ReplayOnJoin_NewClient_SendsHistoryAfterConnectedEvent()
    {
        await using var app = await StartAsync(options: options => options.Groups["/ws"] = new() { HistoryMessages = 10, ReplayOnJoin = 10 });
        await using var ann = await JsonClient.OpenAsync(app, headers: TestUsers.As("ann"));
        await JsonClient.SendTextAsync(
            ann,
            """{"type":"joinGroup","group":"g","ackId":1}""",
            """{"type":"sendToGroup","group":"/ws","ackId":2,"noEcho":true,"data":[1]}""",
            """{"type":"sendToGroup","group":"/ws","ackId":3,"noEcho":true,"dataType":"text","data":"t"}""");
        for (var id = 1; id <= 3; id++) await JsonClient.SucceedsAsync(ann, id);
        await app.Broadcaster.PublishAsync("raw", Recipients.Groups("/ws", "g"), cancellationToken: Token);
        await JsonClient.ReceivesAsync(ann, JsonClient.FromServer("text", "\"raw\""));
        await JsonClient.ReceivesNothingElseAsync(ann);

        await using var bob = await RawClient.ConnectAsync(app);
        await bob.HandshakeAsync("/ws", JsonClient.Offers());
        await JsonClient.IdAsync(bob);
        await JsonClient.ReceivesAsync(
            bob, JsonClient.FromGroup("/ws", "json", "[1]", "ann"), JsonClient.FromGroup("/ws", "text", "\"t\"", "ann"), JsonClient.FromServer("text", "\"raw\""));
    }

    [Theory]
    [InlineData("\"quoted\" \\ / <b>&amp;'", "plain")]
    [InlineData("é😀\u2028\u0000\u0001\u001f\u007f\ufffe", "é😀 \"g\" \\")]
    public async Task SendToGroup_SpecialCharacters_ArriveUnchanged(string text, string group)
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        var (data, name) = (JsonSerializer.Serialize(text, JsonContext.Default.String), JsonSerializer.Serialize(group, JsonContext.Default.String));
        await JsonClient.SendTextAsync(
            client,
            $$"""{"type":"joinGroup","group":{{name}},"ackId":1}""", $$"""{"type":"sendToGroup","group":{{name}},"dataType":"text","data":{{data}}}""");
        await JsonClient.SucceedsAsync(client, 1);
        using var message = JsonDocument.Parse(await JsonClient.ReadAsync(client));
        Assert.Equal((group, text), (message.RootElement.GetProperty("group").GetString(), message.RootElement.GetProperty("data").GetString()));
    }

    [Fact]
    public async Task CustomProtocol_SameSubprotocol_ReplacesBuiltInProtocol()
    {
        var own = new OwnProtocol();
        await using var app = await StartAsync(configure: builder => builder.Services.AddSingleton<IBroadcastProtocol>(own));
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync("/ws", JsonClient.Offers());
        await JsonClient.ReceivesAsync(client, "welcome");
        await client.SendAsync(ClientFrame.CreateText("echo"));
        await JsonClient.ReceivesAsync(client, "echo");
        await app.Broadcaster.PublishAsync("hi", cancellationToken: Token);
        await JsonClient.ReceivesAsync(client, "<hi>");
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, cancellationToken: Token);
        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);
    }

    [Theory]
    [InlineData("json")]
    [InlineData("utf8")]
    [InlineData("size")]
    [InlineData("type")]
    public async Task CustomProtocol_InvalidMessage_ClosesWithCode1011(string invalidPart)
    {
        var own = new OwnProtocol
        {
            OnReceive = (context, _) => context.PublishAsync("g", invalidPart switch
            {
                "json" => new Message("{"u8.ToArray(), MessageType.Text) { IsJson = true },
                "utf8" => new Message(new byte[] { 0xff }, MessageType.Text),
                "size" => new Message(new byte[2_000_000], MessageType.Binary),
                _ => default,
            }),
        };
        await using var app = await StartAsync(
            configure: builder => builder.Services.AddSingleton<IBroadcastProtocol>(own), options: options => options.MaxBacklogBytes = 1_000_000);
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync("/ws", JsonClient.Offers());
        await JsonClient.ReceivesAsync(client, "welcome");
        await client.SendAsync(ClientFrame.CreateText("x"));
        Assert.Equal(1011, (await client.ReadFrameAsync()).CloseCode);
    }

    [Fact]
    public async Task CustomProtocol_ConnectedThrows_LeavesNoConnectionOrGroup()
    {
        var own = new OwnProtocol { OnConnected = _ => throw new InvalidOperationException("boom") };
        await using var app = await StartAsync(configure: builder => builder.Services.AddSingleton<IBroadcastProtocol>(own));
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync("/ws", JsonClient.Offers());
        Assert.Equal(1011, await client.ClosedWithAsync());
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Null(app.Services.GetRequiredKeyedService<BroadcastInstance>("").Groups.Find("/ws"));
    }

    [Fact]
    public async Task Handshake_NoProtocolsRegistered_AcceptsOnlyRaw()
    {
        await using var app = await StartAsync(configure: builder => builder.Services.RemoveAll<IBroadcastProtocol>());
        Assert.Equal(400, (await RawClient.TryAsync(app, JsonClient.Offers())).Status);
        await using var client = await RawClient.ConnectAsync(app);
        var answer = await client.HandshakeAsync();
        Assert.Null(answer["Sec-WebSocket-Protocol"]);
        await client.JoinedAsync();
        await client.SendAsync(ClientFrame.CreateText("hi"));
        await JsonClient.ReceivesAsync(client, "hi");
    }

    [Fact]
    public async Task Publish_ManyRecipients_EncodesOnce()
    {
        const int Count = 50, Messages = 20;
        var own = new OwnProtocol();
        await using var app = await StartAsync(configure: builder => builder.Services.AddSingleton<IBroadcastProtocol>(own));
        var clients = new List<RawClient>();
        for (var i = 0; i < Count; i++)
        {
            clients.Add(await RawClient.ConnectAsync(app));
            await clients[i].HandshakeAsync("/ws", JsonClient.Offers());
            await JsonClient.ReceivesAsync(clients[i], "welcome");
        }

        if (Environment.ProcessorCount > 1)
            Assert.True(app.Registry.Connections.Cast<Connection>().Select(connection => connection.Writer.Pump).Distinct().Count() > 1);
        for (var i = 0; i < Messages; i++) await app.Broadcaster.PublishAsync($"{i}", Recipients.Group("/ws"), cancellationToken: Token);
        foreach (var client in clients)
        {
            for (var i = 0; i < Messages; i++) await JsonClient.ReceivesAsync(client, $"<{i}>");
        }

        Assert.Equal(Messages, own.Writes);
        foreach (var client in clients) await client.DisposeAsync();
    }

    static Task<BroadcastApp> StartAsync(
        IGroupAuthorizer? rules = null, Action<WebApplication>? map = null, Action<BroadcastOptions>? options = null, Action<WebApplicationBuilder>? configure = null) =>
        BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddSingleton(rules ?? Rules.AllowAll);
                configure?.Invoke(builder);
            },
            map,
            options);
}
