using System.Text.Json;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// A client of the reliable protocol on one transport. The client stores its connection ID, its token and the last
/// sequence ID. The test fails if a sequence ID does not increase.
/// </summary>
sealed class ReliableClient : IAsyncDisposable
{
    public const string Subprotocol = "json.reliable.webpubsub.azure.v1";

    public const string Refused = "The reconnection token is invalid or expired. Open a new connection.";

    readonly (string Name, string? Value)[] _headers;

    ReliableClient(RawClient transport, string path, long lastId, (string Name, string? Value)[] headers) =>
        (Transport, Path, LastId, _headers) = (transport, path, lastId, headers);

    public RawClient Transport { get; }

    public string Path { get; }

    public string Id { get; private set; } = "";

    /// <summary>The reconnection token, or null if the server sent no token.</summary>
    public string? Token { get; private set; }

    /// <summary>The last sequence ID on this transport. Earlier transports do not count.</summary>
    public long LastId { get; private set; }

    /// <summary>Connects and waits until the client is a member of its group.</summary>
    public static async Task<ReliableClient> OpenAsync(
        BroadcastApp app, string path = "/ws", int? receiveBuffer = null, params (string Name, string? Value)[] headers)
    {
        var client = new ReliableClient(await HandshakeAsync(app, path, receiveBuffer, headers), path, 0, headers);
        await client.ReadConnectedAsync();
        await client.Transport.JoinedAsync();
        return client;
    }

    /// <summary>Opens a transport, requests to resume the connection, and completes the handshake.</summary>
    public static Task<RawClient> AskAsync(
        BroadcastApp app, string? id, string? token, string path = "/ws", params (string Name, string? Value)[] headers)
    {
        string?[] query = [id is null ? null : "awps_connection_id=" + id, token is null ? null : "awps_reconnection_token=" + token];
        return HandshakeAsync(app, $"{path}?{string.Join('&', query.OfType<string>())}", null, headers);
    }

    /// <summary>Reconnects on a new transport with the connection ID and the token.</summary>
    /// <param name="app">The app to connect to.</param>
    /// <param name="token">The reconnection token. If null, the client uses its last received token.</param>
    public async Task<ReliableClient> ReconnectAsync(BroadcastApp app, string? token = null) =>
        await ReconnectAsync(await AskAsync(app, Id, token ?? Token, Path, _headers));

    /// <summary>Reconnects on a transport whose handshake is complete.</summary>
    public async Task<ReliableClient> ReconnectAsync(RawClient transport)
    {
        var client = new ReliableClient(transport, Path, 0, _headers);
        await client.ReadConnectedAsync();
        Assert.Equal(Id, client.Id);
        Assert.NotEqual(Token, client.Token);
        return client;
    }

    /// <summary>Asserts that the server refuses the transport: the only frame is a close frame with code 1008.</summary>
    public static async Task IsRefusedAsync(RawClient transport)
    {
        var close = await transport.ReadFrameAsync();
        Assert.True(close.Opcode == ClientFrame.Close, close.Text);
        Assert.Equal((1008, Refused), (close.CloseCode, close.CloseReason));
        await transport.SendAsync(ClientFrame.CreateClose(1008));
        await transport.ReadEndAsync();
    }

    public async Task IsRefusedAsync(BroadcastApp app, string? token = null)
    {
        await using var transport = await AskAsync(app, Id, token ?? Token, Path, _headers);
        await IsRefusedAsync(transport);
    }

    public Task SendTextAsync(params string[] messages) => JsonClient.SendTextAsync(Transport, messages);

    /// <summary>Acknowledges the given sequence ID, or the last received sequence ID.</summary>
    public Task AcknowledgeAsync(long? id = null) => SendTextAsync($$"""{"type":"sequenceAck","sequenceId":{{id ?? LastId}}}""");

    /// <summary>Acknowledges a sequence ID and waits until the server has processed the acknowledgement.</summary>
    public async Task AcknowledgedAsync(BroadcastApp app, long? id = null)
    {
        await AcknowledgeAsync(id);
        await JsonClient.ReceivesNothingElseAsync(Transport);
        await PumpBarrier.PassAsync(ConnectionOf(app).Writer.Pump);
    }

    public Connection ConnectionOf(BroadcastApp app) => (Connection)app.Registry.Find(Id)!;

    /// <summary>Returns the next message. Fails if its sequence ID does not increase.</summary>
    public async Task<ReliableMessage> ReadAsync()
    {
        var message = ReliableMessage.Parse(await JsonClient.ReadAsync(Transport));
        Assert.True(message.Id > LastId, $"After {LastId}: {message.Text}");
        LastId = message.Id!.Value;
        return message;
    }

    /// <summary>Reads messages with this data. Each message must have a sequence ID.</summary>
    public async Task<ReliableMessage[]> ReceivesAsync(params string[] data)
    {
        var messages = new List<ReliableMessage>();
        foreach (var expected in data)
        {
            messages.Add(await ReadAsync());
            Assert.Equal(expected, messages[^1].Data);
        }

        return [.. messages];
    }

    /// <summary>Resets the transport without a close frame.</summary>
    public void Disconnect() => Transport.Reset();

    public ValueTask DisposeAsync() => Transport.DisposeAsync();

    static async Task<RawClient> HandshakeAsync(BroadcastApp app, string path, int? receiveBuffer, (string Name, string? Value)[] headers)
    {
        var transport = await RawClient.ConnectAsync(app, receiveBuffer);
        var answer = await transport.HandshakeAsync(path, [JsonClient.Offers(Subprotocol), .. headers]);
        Assert.Equal((101, Subprotocol), (answer.Status, answer["Sec-WebSocket-Protocol"]));
        return transport;
    }

    async Task ReadConnectedAsync()
    {
        var connected = await JsonClient.ReadAsync(Transport);
        using var document = JsonDocument.Parse(connected);
        var root = document.RootElement;
        Assert.True(root.TryGetProperty("event", out var name) && name.GetString() == "connected", connected);
        Id = root.GetProperty("connectionId").GetString()!;
        Token = root.TryGetProperty("reconnectionToken", out var token) ? token.GetString() : null;
    }
}

/// <summary>A received message.</summary>
/// <param name="Id">The sequence ID, or null.</param>
/// <param name="Data">The text, or the unchanged JSON.</param>
/// <param name="Text">The whole message.</param>
sealed record ReliableMessage(long? Id, string Data, string Text)
{
    public static ReliableMessage Parse(string text)
    {
        using var document = JsonDocument.Parse(text);
        var root = document.RootElement;
        Assert.True(root.GetProperty("type").GetString() == "message", text);
        var data = root.GetProperty("data");
        return new(
            root.TryGetProperty("sequenceId", out var id) ? id.GetInt64() : null,
            data.ValueKind == JsonValueKind.String ? data.GetString()! : data.GetRawText(),
            text);
    }
}
