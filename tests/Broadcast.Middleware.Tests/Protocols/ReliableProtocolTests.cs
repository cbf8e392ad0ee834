using System.Text.Json;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests the differences between the reliable and the plain subprotocol while clients stay connected.</summary>
public sealed class ReliableProtocolTests
{
    readonly RecoveryClock _clock = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ConnectedEvent_ReliableClient_ContainsUniqueToken()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var transport = await ReliableClient.AskAsync(app, null, null, headers: [TestUsers.As("ann")]);
        var connected = await JsonClient.ReadAsync(transport);
        using var document = JsonDocument.Parse(connected);
        var token = document.RootElement.GetProperty("reconnectionToken").GetString();
        var id = app.Registry.Connections.Single().Id;
        Assert.Equal($$"""{"type":"system","event":"connected","userId":"ann","connectionId":"{{id}}","reconnectionToken":"{{token}}"}""", connected);

        await using var other = await ReliableClient.OpenAsync(app);

        Assert.NotEqual(token, other.Token);
    }

    [Fact]
    public async Task ConnectedEvent_RecoveryTimeoutZero_ContainsNoToken()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, options => options.RecoveryTimeout = TimeSpan.Zero);
        await using var client = await ReliableClient.OpenAsync(app);
        Assert.Null(client.Token);
        await app.PublishAsync("1", "2");
        await client.ReceivesAsync("1", "2");
        await client.AcknowledgedAsync(app);
        Assert.Equal(0, app.Kept());

        client.Disconnect();

        await app.IsEmptyAsync();
        await client.IsRefusedAsync(app, "none");
    }

    [Theory]
    [InlineData("json.webpubsub.azure.v1", """{"type":"message","from":"server","dataType":"text","data":"hi"}""")]
    [InlineData(null, "hi")]
    public async Task ReconnectParameters_OfOtherProtocols_AreIgnored(string? subprotocol, string message)
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var reliable = await ReliableClient.OpenAsync(app);
        await using var transport = await RawClient.ConnectAsync(app);
        // Other protocols ignore the reconnect parameters of the URL, so the server opens a new connection.
        var answer = await transport.HandshakeAsync(
            $"/ws?awps_connection_id={reliable.Id}&awps_reconnection_token={reliable.Token}", ("Sec-WebSocket-Protocol", subprotocol));
        Assert.Equal(101, answer.Status);
        if (subprotocol is not null) Assert.NotEqual(reliable.Id, await JsonClient.IdAsync(transport));
        await transport.JoinedAsync();
        await app.PublishAsync("hi");
        await JsonClient.ReceivesAsync(transport, message);

        transport.Reset();

        await Eventually.True(() => app.Registry.Count == 1);
        await reliable.ReceivesAsync("hi");
    }

    [Fact]
    public async Task SequenceIds_SeveralGroups_IncreaseAndSkipMessagesToOtherClients()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await using var other = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("other")]);
        await app.PublishAsync("all");
        await app.PublishToAsync(Recipients.User("other"), "not for it");
        await app.PublishToAsync(Recipients.Group("/ws").Except(client.Id), "nor this");
        await app.PublishToAsync(Recipients.Group("/ws"), "group");
        await app.PublishToAsync(Recipients.Connection(client.Id), "private");

        var heard = await client.ReceivesAsync("all", "group", "private");

        Assert.Equal([1L, 4, 5], heard.Select(message => message.Id!.Value));
        Assert.Equal([1L, 2, 3, 4], (await other.ReceivesAsync("all", "not for it", "nor this", "group")).Select(message => message.Id!.Value));
    }

    [Fact]
    public async Task Message_EachDataType_HasSameSequenceIdForAllClients()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var ann = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann")]);
        await using var bob = await ReliableClient.OpenAsync(app);
        await ann.SendTextAsync(
            """{"type":"sendToGroup","group":"/ws","dataType":"text","data":"tëxt"}""",
            """{"type":"sendToGroup","group":"/ws","dataType":"json","data":{"a": [1.50]}}""",
            """{"type":"sendToGroup","group":"/ws","dataType":"binary","data":"AQID"}""",
            """{"type":"sendToGroup","group":"/ws","noEcho":true,"data":0}""");
        string[] expected =
        [
            """{"type":"message","from":"group","group":"/ws","fromUserId":"ann","dataType":"text","data":"tëxt","sequenceId":1}""",
            """{"type":"message","from":"group","group":"/ws","fromUserId":"ann","dataType":"json","data":{"a": [1.50]},"sequenceId":2}""",
            """{"type":"message","from":"group","group":"/ws","fromUserId":"ann","dataType":"binary","data":"AQID","sequenceId":3}""",
        ];

        await JsonClient.ReceivesAsync(ann.Transport, expected);
        await JsonClient.ReceivesAsync(bob.Transport, expected);
        await JsonClient.ReceivesNothingElseAsync(ann.Transport);
        await app.Broadcaster.PublishAsync(new byte[] { 4, 5 }, Recipients.Everyone, cancellationToken: Token);
        await app.Broadcaster.PublishAsync(6, JsonContext.Default.Int32, Recipients.Everyone, cancellationToken: Token);
        await JsonClient.ReceivesAsync(
            ann.Transport,
            """{"type":"message","from":"server","dataType":"binary","data":"BAU=","sequenceId":6}""",
            """{"type":"message","from":"server","dataType":"json","data":6,"sequenceId":7}""");
    }

    [Fact]
    public async Task SequenceAck_SharedMessages_AreFreedAfterLastAcknowledgement()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await using var lagging = await ReliableClient.OpenAsync(app);
        var data = new string('x', 60_000);
        var heard = new List<ReliableMessage>();
        for (var i = 0; i < 10; i++)
        {
            await app.PublishAsync(data);
            await client.ReceivesAsync(data);
            heard.AddRange(await lagging.ReceivesAsync(data));
            await client.AcknowledgedAsync(app);
        }

        // The server keeps each message once for both clients.
        Assert.InRange(app.Kept(), 9 * 60_000, 11 * 60_000);
        await lagging.AcknowledgedAsync(app, heard[5].Id);
        Assert.InRange(app.Kept(), 3 * 60_000, 6 * 60_000);
        await lagging.AcknowledgedAsync(app);
        Assert.InRange(app.Kept(), 0, 2 * 60_000);
    }

    [Fact]
    public async Task SequenceAck_OlderOrRepeated_ChangesNothing()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1", "2", "3");
        var heard = await client.ReceivesAsync("1", "2", "3");

        foreach (var message in new[] { 1, 0, 1, 0 }) await client.AcknowledgeAsync(heard[message].Id);
        await client.AcknowledgedAsync(app, 0);

        await using var again = await client.ReconnectAsync(app);
        await again.ReceivesAsync("3");
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
    }

    [Fact]
    public async Task SequenceAck_AnswersBetweenMessages_AcknowledgesAllMessages()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, options => options.MaxUnacknowledgedMessages = 2);
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1", "2", "3");
        await client.ReceivesAsync("1", "2", "3");
        // Each answer also uses a sequence ID, but does not contain the ID.
        await JsonClient.ReceivesNothingElseAsync(client.Transport);
        await client.AcknowledgedAsync(app);

        client.Disconnect();

        await using var again = await client.ReconnectAsync(app);
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
    }

    [Fact]
    public async Task Answers_ManySent_DoNotCountAsUnacknowledged()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, options => options.MaxUnacknowledgedMessages = 5);
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1");
        await client.ReceivesAsync("1");
        for (var i = 0; i < 20; i++) await JsonClient.ReceivesNothingElseAsync(client.Transport);

        client.Disconnect();

        await using var again = await client.ReconnectAsync(app);
        await again.ReceivesAsync("1");
    }

    [Theory]
    [InlineData("bytes")]
    [InlineData("messages")]
    [InlineData("total bytes")]
    public async Task Reconnect_OverUnacknowledgedLimit_NeedsAcknowledgement(string limit)
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, options =>
        {
            if (limit == "bytes") options.MaxUnacknowledgedBytes = 100_000;
            else if (limit == "messages") options.MaxUnacknowledgedMessages = 10;
            else options.MaxTotalUnacknowledgedBytes = 100_000;
        });
        await using var lost = await ReliableClient.OpenAsync(app);
        await using var client = await ReliableClient.OpenAsync(app);
        await using var good = await ReliableClient.OpenAsync(app);
        var data = new string('x', 30_000);
        for (var i = 0; i < 20; i++)
        {
            await app.PublishAsync(data);
            foreach (var each in new[] { lost, client, good }) await each.ReceivesAsync(data);
            await good.AcknowledgedAsync(app);
        }

        await client.AcknowledgedAsync(app);
        Assert.Equal(3, app.Registry.Count);
        Assert.InRange(app.Kept(), 0, 200_000);
        foreach (var each in new[] { lost, client, good }) each.Disconnect();
        await _clock.WaitsAsync(2);
        await Eventually.True(() => app.Registry.Count == 2);

        await lost.IsRefusedAsync(app);
        foreach (var each in new[] { client, good })
        {
            await using var again = await each.ReconnectAsync(app);
            await JsonClient.ReceivesNothingElseAsync(again.Transport);
        }
    }
}
