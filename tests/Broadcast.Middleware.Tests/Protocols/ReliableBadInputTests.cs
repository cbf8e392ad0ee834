using Microsoft.AspNetCore.Builder;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests bad input from clients of the reliable protocol.</summary>
public sealed class ReliableBadInputTests
{
    readonly RecoveryClock _clock = new();

    [Theory]
    [InlineData("9223372036854775808")]
    [InlineData("18446744073709551615")]
    [InlineData("9223372036854775807")]
    [InlineData("2")]
    public async Task SequenceAck_IdNeverSent_EndsSession(string id)
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1");
        await client.ReceivesAsync("1");

        await client.SendTextAsync($$"""{"type":"sequenceAck","sequenceId":{{id}}}""");

        Assert.StartsWith("The sequenceId ", await JsonClient.EndsAsync(client.Transport, 1008), StringComparison.Ordinal);
        await app.IsEmptyAsync();
        await client.IsRefusedAsync(app);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task SequenceAck_IdOfAnotherClient_EndsSession()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await using var other = await ReliableClient.OpenAsync(app);
        await app.PublishToAsync(Recipients.Connection(other.Id), "secret");
        await other.ReceivesAsync("secret");
        await client.AcknowledgeAsync(other.LastId);
        await JsonClient.EndsAsync(client.Transport, 1008);

        await using var again = await other.ReconnectAsync(app);
        await again.ReceivesAsync("secret");
    }

    [Fact]
    public async Task SequenceAck_IdBetweenOwnMessages_AcknowledgesEarlierMessages()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await using var other = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1");
        await app.PublishToAsync(Recipients.Connection(other.Id), "2");
        await app.PublishAsync("3");
        await client.ReceivesAsync("1", "3");

        await client.AcknowledgedAsync(app, client.LastId - 1);

        await using var again = await client.ReconnectAsync(app);
        await again.ReceivesAsync("3");
    }

    [Theory]
    [InlineData("-1")]
    [InlineData("1.5")]
    [InlineData("1e3")]
    [InlineData("18446744073709551616")]
    [InlineData("\"1\"")]
    [InlineData("null")]
    [InlineData("[1]")]
    [InlineData("{}")]
    [InlineData(null)]
    public async Task SequenceAck_IdNotAWholeNumber_IsRejected(string? value)
    {
        var id = value is null ? "" : $",\"sequenceId\":{value}";
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var asking = await ReliableClient.OpenAsync(app);
        await using var other = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1");
        foreach (var client in new[] { asking, other }) await client.ReceivesAsync("1");

        await asking.SendTextAsync($$"""{"type":"sequenceAck","ackId":5{{id}}}""");
        await other.SendTextAsync($$"""{"type":"sequenceAck"{{id}}}""");

        await JsonClient.FailsAsync(asking.Transport, 5, "BadRequest");
        await JsonClient.EndsAsync(other.Transport, 1008);
        await other.IsRefusedAsync(app);
        // The invalid request acknowledged no message, so the server resends all messages.
        await using var again = await asking.ReconnectAsync(app);
        await again.ReceivesAsync("1");
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("""{"type":"sequenceAck","sequenceId":}""")]
    [InlineData("""{"type":"unknown"}""")]
    [InlineData("""{"type":"sequenceack","sequenceId":1}""")]
    [InlineData("""{"sequenceId":1}""")]
    [InlineData("deeply nested")]
    [InlineData("deeply nested acknowledgement")]
    public async Task Request_Invalid_EndsOnlySessionOfSender(string text)
    {
        if (text == "deeply nested") text = new string('[', 10_000) + new string(']', 10_000);
        if (text == "deeply nested acknowledgement") text = $$"""{"type":"sequenceAck","ackId":1,"x":{{new string('[', 10_000) + new string(']', 10_000)}},"sequenceId":1}""";
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await using var other = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1");
        await client.ReceivesAsync("1");

        await client.SendTextAsync(text);

        await JsonClient.EndsAsync(client.Transport, 1008);
        await Eventually.True(() => app.Registry.Count == 1);
        await client.IsRefusedAsync(app);
        await other.ReceivesAsync("1");
        await JsonClient.ReceivesNothingElseAsync(other.Transport);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Request_UnknownTypeWithAckId_IsRejectedAsBadRequest()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await client.SendTextAsync("""{"type":"unknown","ackId":1}""");
        await JsonClient.FailsAsync(client.Transport, 1, "BadRequest");
    }

    [Fact]
    public async Task Request_BinaryMessage_EndsSession()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await client.Transport.SendAsync(ClientFrame.Make(ClientFrame.Binary, """{"type":"ping"}"""u8));
        await JsonClient.EndsAsync(client.Transport, 1003);
        await client.IsRefusedAsync(app);
    }

    [Theory]
    [InlineData("no token")]
    [InlineData("an empty token")]
    [InlineData("a token twice")]
    [InlineData("two tokens")]
    [InlineData("a huge token")]
    [InlineData("a token with special characters")]
    [InlineData("a shortened token")]
    [InlineData("a token with an extra character")]
    [InlineData("another connection's token")]
    [InlineData("another connection")]
    [InlineData("an unknown connection")]
    [InlineData("an empty id")]
    [InlineData("an id twice")]
    [InlineData("a huge id")]
    [InlineData("another URL")]
    [InlineData("another user")]
    [InlineData("an anonymous user")]
    [InlineData("a raw connection")]
    [InlineData("a plain connection")]
    public async Task Reconnect_WrongIdTokenUrlOrUser_IsRefused(string mistake)
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, map: app =>
        {
            app.MapBroadcast("/ws");
            app.MapBroadcast("/other");
        });
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann")]);
        await using var other = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann")]);
        await using var raw = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        var rawId = app.Registry.Connections.Single(connection => connection.Id != client.Id && connection.Id != other.Id).Id;
        await using var plain = await JsonClient.OpenAsync(app, headers: [TestUsers.As("ann")]);
        var plainId = app.Registry.Connections.Single(connection => connection.Id != client.Id && connection.Id != other.Id && connection.Id != rawId).Id;
        await app.PublishToAsync(Recipients.Connection(client.Id), "secret");
        await client.ReceivesAsync("secret");
        var (id, token, path, user) = (client.Id, client.Token, "/ws", "ann");
        switch (mistake)
        {
            case "no token": token = null; break;
            case "an empty token": token = ""; break;
            case "a token twice": token += "&awps_reconnection_token=" + token; break;
            case "two tokens": token += "&awps_reconnection_token=x"; break;
            case "a huge token": token = new string('x', 7000); break;
            case "a token with special characters": token = "%00%ff%F0%9F%98%80%0d%0a"; break;
            case "a shortened token": token = token![..^1]; break;
            case "a token with an extra character": token += "A"; break;
            case "another connection's token": token = other.Token; break;
            case "another connection": id = other.Id; break;
            case "an unknown connection": id = "AAAAAAAAAAAAAAAAAAAAAA"; break;
            case "an empty id": id = ""; break;
            case "an id twice": id += "&awps_connection_id=" + id; break;
            case "a huge id": id = new string('x', 7000); break;
            case "another URL": path = "/other"; break;
            case "another user": user = "bob"; break;
            case "an anonymous user": user = null; break;
            case "a raw connection": id = rawId; break;
            case "a plain connection": id = plainId; break;
            default: throw new ArgumentOutOfRangeException(nameof(mistake));
        }

        await using var transport = await ReliableClient.AskAsync(app, id, token, path, user is null ? [] : [TestUsers.As(user)]);
        await ReliableClient.IsRefusedAsync(transport);

        // The old transport is still open, and its client can reconnect.
        await JsonClient.ReceivesNothingElseAsync(client.Transport);
        foreach (var each in new[] { client, other })
        {
            each.Disconnect();
            await using var again = await each.ReconnectAsync(app);
            if (each == client) await again.ReceivesAsync("secret");
            await JsonClient.ReceivesNothingElseAsync(again.Transport);
        }

        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Reconnect_RequestLineTooLong_IsRefusedWithStatus414()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await using var transport = await RawClient.ConnectAsync(app);
        var answer = await transport.HandshakeAsync(
            $"/ws?awps_connection_id={client.Id}&awps_reconnection_token={new string('x', 100_000)}", JsonClient.Offers(ReliableClient.Subprotocol));
        Assert.Equal(414, answer.Status);
        await JsonClient.ReceivesNothingElseAsync(client.Transport);
    }

    [Fact]
    public async Task Connect_TokenWithoutConnectionId_CreatesNewConnection()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await using var transport = await ReliableClient.AskAsync(app, null, client.Token);
        Assert.NotEqual(client.Id, await JsonClient.IdAsync(transport));
        Assert.Equal(2, app.Registry.Count);
    }

    [Fact]
    public async Task RefusedReconnect_CloseFrameUnanswered_IsAbortedAfterCloseTimeout()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, options => options.CloseTimeout = TimeSpan.FromSeconds(5));
        await using var transport = await ReliableClient.AskAsync(app, "unknown", "unknown");
        Assert.Equal(1008, (await transport.ReadFrameAsync()).CloseCode);
        // The client does not answer the close frame and sends other frames.
        await transport.SendAsync(ClientFrame.CreateText("""{"type":"ping"}"""), ClientFrame.Make(ClientFrame.Ping, []));

        var end = transport.ReadEndAsync();
        await Eventually.True(() =>
        {
            _clock.Advance(TimeSpan.FromSeconds(1));
            return end.IsCompleted;
        });
        await end;
        LogAssert.NoErrors(app);
    }
}
