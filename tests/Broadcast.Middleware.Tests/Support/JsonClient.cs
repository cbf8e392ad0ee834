using System.Text.Json;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Helpers for clients of the JSON protocol on plain sockets.</summary>
static class JsonClient
{
    public const string Subprotocol = "json.webpubsub.azure.v1";

    public static (string, string?) Offers(string subprotocols = Subprotocol) => ("Sec-WebSocket-Protocol", subprotocols);

    /// <summary>Connects, reads the connected event, and waits until the client is a member of its group.</summary>
    public static async Task<RawClient> OpenAsync(BroadcastApp app, string path = "/ws", int? receiveBuffer = null, params (string Name, string? Value)[] headers)
    {
        var client = await RawClient.ConnectAsync(app, receiveBuffer);
        var answer = await client.HandshakeAsync(path, [Offers(), .. headers]);
        Assert.Equal((101, Subprotocol), (answer.Status, answer["Sec-WebSocket-Protocol"]));
        await IdAsync(client);
        await client.JoinedAsync();
        return client;
    }

    /// <summary>Reads the connected event and returns the connection ID.</summary>
    public static async Task<string> IdAsync(RawClient client)
    {
        var connected = await ReadAsync(client);
        Assert.StartsWith("""{"type":"system","event":"connected",""", connected, StringComparison.Ordinal);
        using var document = JsonDocument.Parse(connected);
        return document.RootElement.GetProperty("connectionId").GetString()!;
    }

    public static Task SendTextAsync(RawClient client, params string[] messages) =>
        client.SendAsync([.. messages.Select(message => (ReadOnlyMemory<byte>)ClientFrame.CreateText(message))]);

    /// <summary>Returns the next message. Fails if the message is not text.</summary>
    public static async Task<string> ReadAsync(RawClient client)
    {
        var frame = await client.ReadFrameAsync();
        Assert.True(frame.Opcode == ClientFrame.Text, $"Not a text frame: {frame.Opcode} {frame.CloseCode} {frame.CloseReason}");
        return frame.Text;
    }

    public static async Task ReceivesAsync(RawClient client, params string[] messages)
    {
        foreach (var message in messages) Assert.Equal(message, await ReadAsync(client));
    }

    /// <summary>Asserts that the server has sent no other message. The next frame must be the answer to a ping.</summary>
    public static async Task ReceivesNothingElseAsync(RawClient client)
    {
        await SendTextAsync(client, """{"type":"ping"}""");
        await ReceivesAsync(client, """{"type":"pong"}""");
    }

    public static Task SucceedsAsync(RawClient client, int ackId) => ReceivesAsync(client, Success(ackId));

    public static async Task FailsAsync(RawClient client, int ackId, string error)
    {
        var answer = await ReadAsync(client);
        Assert.StartsWith($$$"""{"type":"ack","ackId":{{{ackId}}},"success":false,"error":{"name":"{{{error}}}","message":""", answer, StringComparison.Ordinal);
    }

    /// <summary>Reads the disconnected event and the close frame, answers the close frame, and waits for the end of the socket.</summary>
    public static async Task<string> EndsAsync(RawClient client, int code)
    {
        var disconnected = await ReadAsync(client);
        var close = await client.ReadFrameAsync();
        Assert.Equal((ClientFrame.Close, code), (close.Opcode, close.CloseCode));
        Assert.Equal($$"""{"type":"system","event":"disconnected","message":"{{close.CloseReason}}"}""", disconnected);
        await client.SendAsync(ClientFrame.CreateClose(code));
        await client.ReadEndAsync();
        return close.CloseReason;
    }

    public static string Success(int ackId) => $$"""{"type":"ack","ackId":{{ackId}},"success":true}""";

    public static string FromServer(string dataType, string data) => $$"""{"type":"message","from":"server","dataType":"{{dataType}}","data":{{data}}}""";

    public static string FromGroup(string group, string dataType, string data, string? user = null) =>
        $$"""{"type":"message","from":"group","group":"{{group}}",{{(user is null ? "" : $"\"fromUserId\":\"{user}\",")}}"dataType":"{{dataType}}","data":{{data}}}""";
}
