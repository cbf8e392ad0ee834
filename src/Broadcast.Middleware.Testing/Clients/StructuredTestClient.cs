using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Broadcast.Middleware.Testing.Hosting;
using Broadcast.Middleware.Testing.Wire;

namespace Broadcast.Middleware.Testing;

/// <summary>
/// A client of the subprotocol <c>json.webpubsub.azure.v1</c>. The client joins groups and publishes to groups. Create
/// a client with <see cref="BroadcastTestHost.ConnectStructuredAsync"/>.
/// </summary>
public sealed class StructuredTestClient : WebSocketTestClient
{
    internal const string Subprotocol = "json.webpubsub.azure.v1";

    readonly Queue<StructuredMessage> _messages = new();
    int _lastAckId;

    internal StructuredTestClient(TestClientState state, InMemoryStream stream, WebSocketWire wire)
        : base(state, stream, wire)
    {
    }

    /// <summary>Joins a group and waits for the answer.</summary>
    /// <param name="group">The name of the group.</param>
    /// <exception cref="BroadcastTestException">
    /// The server refused the request: see <see cref="BroadcastTestException.ErrorName"/>.
    /// </exception>
    public Task JoinGroupAsync(string group) => RequestAsync("joinGroup", group);

    /// <summary>Leaves a group and waits for the answer.</summary>
    /// <inheritdoc cref="JoinGroupAsync" path="/param|/exception"/>
    public Task LeaveGroupAsync(string group) => RequestAsync("leaveGroup", group);

    /// <summary>Publishes a text to a group and waits for the answer.</summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="text">The text.</param>
    /// <inheritdoc cref="JoinGroupAsync" path="/exception"/>
    public Task SendToGroupAsync(string group, string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return RequestAsync("sendToGroup", group, new() { ["dataType"] = "text", ["data"] = text });
    }

    /// <summary>Sends an event to the app and waits for the answer.</summary>
    /// <param name="name">The name of the event: see <see cref="MessageContext.Event"/>.</param>
    /// <param name="text">The text.</param>
    /// <inheritdoc cref="JoinGroupAsync" path="/exception"/>
    public Task SendEventAsync(string name, string text)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(text);
        return RequestAsync("event", null, new() { ["event"] = name, ["dataType"] = "text", ["data"] = text });
    }

    /// <summary>Waits for the next message from a group or from the app.</summary>
    /// <exception cref="BroadcastTestException">The server ended the connection instead.</exception>
    public async Task<StructuredMessage> ReceiveAsync()
    {
        if (_messages.TryDequeue(out var message)) return message;
        while (true)
        {
            using var frame = await ReadAsync("a message");
            if (ToMessage(frame.RootElement) is { } received) return received;
        }
    }

    /// <summary>Waits for the next message and returns its data.</summary>
    /// <inheritdoc cref="ReceiveAsync" path="/exception"/>
    public async Task<string> ReceiveTextAsync() => (await ReceiveAsync()).Data;

    /// <inheritdoc cref="RawTestClient.ReceiveNothingAsync"/>
    public Task ReceiveNothingAsync() => _messages.TryPeek(out var message)
        ? throw new BroadcastTestException($"The client expected no message, but received {message}.")
        : CheckNothingReceivedAsync();

    /// <summary>Reads the event that the server sends after the client has connected.</summary>
    internal async Task ReadConnectedAsync()
    {
        using var connected = await ReadAsync("the event 'connected'");
        var root = connected.RootElement;
        if (root.TryGetProperty("event", out var name) && name.GetString() == "connected") return;
        throw new BroadcastTestException(
            $"The client expected the event 'connected', but received {root.GetRawText()}.");
    }

    static StructuredMessage? ToMessage(JsonElement root)
    {
        if (root.GetProperty("type").GetString() != "message") return null;
        var data = root.GetProperty("data");
        return new(
            root.TryGetProperty("group", out var group) ? group.GetString() : null,
            root.TryGetProperty("fromUserId", out var user) ? user.GetString() : null,
            root.GetProperty("dataType").GetString()!,
            root.GetProperty("dataType").GetString() == "json" ? data.GetRawText() : data.GetString()!);
    }

    async Task RequestAsync(string type, string? group, JsonObject? request = null)
    {
        request ??= [];
        request["type"] = type;
        request["ackId"] = ++_lastAckId;
        if (type != "event")
        {
            ArgumentException.ThrowIfNullOrEmpty(group);
            request["group"] = group;
        }

        await SendAsync(MessageType.Text, Encoding.UTF8.GetBytes(request.ToJsonString()));
        while (true)
        {
            using var frame = await ReadAsync($"the answer to '{type}'");
            var root = frame.RootElement;
            if (ToMessage(root) is { } message) _messages.Enqueue(message);
            if (!root.TryGetProperty("ackId", out var ackId) || ackId.GetInt32() != _lastAckId) continue;
            if (root.GetProperty("success").GetBoolean()) return;
            var error = root.GetProperty("error");
            throw new BroadcastTestException(
                $"The server refused the request '{type}': {error.GetProperty("message").GetString()}")
            {
                ErrorName = error.GetProperty("name").GetString(),
            };
        }
    }

    async Task<JsonDocument> ReadAsync(string expected) =>
        JsonDocument.Parse((await ReceiveMessageAsync(expected)).Payload);
}
