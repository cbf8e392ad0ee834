using System.Buffers;
using System.Net.WebSockets;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Broadcast.Middleware;

/// <summary>
/// The subprotocol <c>json.webpubsub.azure.v1</c>, as its published clients speak it: groups, events and acknowledgements in JSON objects. No
/// affiliation with the authors of those clients.
/// </summary>
class JsonProtocol : IBroadcastProtocol
{
    // No escapes that JSON does not ask for: what is sent is no HTML.
    static readonly JsonWriterOptions WriterOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    static readonly (string?, string) MayNotJoin = ("Forbidden", "This client may not join the group.");

    public virtual string Subprotocol => "json.webpubsub.azure.v1";

    public void Write(IBufferWriter<byte> output, in OutgoingMessage message)
    {
        using var writer = new Utf8JsonWriter(output, WriterOptions);
        writer.WriteStartObject();
        writer.WriteString("type"u8, "message"u8);
        if (message is { Group: not null, Sender: not null })
        {
            writer.WriteString("from"u8, "group"u8);
            writer.WriteString("group"u8, message.Group);
            if (message.Sender.UserId is { } userId) writer.WriteString("fromUserId"u8, userId);
        }
        else
        {
            writer.WriteString("from"u8, "server"u8);
        }

        var payload = message.Message.Payload.Span;
        if (message.Message.Type == MessageType.Binary)
        {
            writer.WriteString("dataType"u8, "binary"u8);
            writer.WriteBase64String("data"u8, payload);
        }
        else if (message.Message.IsJson)
        {
            writer.WriteString("dataType"u8, "json"u8);
            writer.WritePropertyName("data"u8);
            writer.WriteRawValue(payload, skipInputValidation: true);
        }
        else
        {
            writer.WriteString("dataType"u8, "text"u8);
            writer.WriteString("data"u8, payload);
        }

        if (message.SequenceId is { } sequenceId) writer.WriteNumber("sequenceId"u8, sequenceId);
        writer.WriteEndObject();
    }

    public virtual ReadOnlyMemory<byte> Connected(IBroadcastConnection connection) => Connected(connection, null);

    protected static ReadOnlyMemory<byte> Connected(IBroadcastConnection connection, string? reconnectionToken) => Write((connection, reconnectionToken), static (writer, facts) =>
    {
        writer.WriteString("type"u8, "system"u8);
        writer.WriteString("event"u8, "connected"u8);
        if (facts.connection.UserId is { } userId) writer.WriteString("userId"u8, userId);
        writer.WriteString("connectionId"u8, facts.connection.Id);
        if (facts.reconnectionToken is { } token) writer.WriteString("reconnectionToken"u8, token);
    });

    public ReadOnlyMemory<byte> Closing(WebSocketCloseStatus status, string? reason) => Write(reason, static (writer, reason) =>
    {
        writer.WriteString("type"u8, "system"u8);
        writer.WriteString("event"u8, "disconnected"u8);
        writer.WriteString("message"u8, reason ?? "");
    });

    public Task ReceiveAsync(ProtocolContext context, Message message)
    {
        if (message.Type != MessageType.Text)
        {
            context.Close(WebSocketCloseStatus.InvalidMessageType, "This subprotocol is text only: send bytes in base64, with the dataType binary.");
            return Task.CompletedTask;
        }

        var request = JsonRequest.Parse(message.Payload, out var problem);
        if (problem is not null)
        {
            Refuse(context, request.AckId, problem);
            return Task.CompletedTask;
        }

        switch (request.Kind)
        {
            case JsonRequestKind.Ping:
                context.Send("""{"type":"pong"}"""u8.ToArray());
                return Task.CompletedTask;
            case JsonRequestKind.SequenceAck:
                Acknowledge(context, request.SequenceId!.Value);
                return Task.CompletedTask;
            default:
                return AnswerAsync(context, request);
        }
    }

    /// <summary>The client has every message up to this one. Here, messages have no ids.</summary>
    protected virtual void Acknowledge(ProtocolContext context, ulong sequenceId) { }

    static async Task AnswerAsync(ProtocolContext context, JsonRequest request)
    {
        var acknowledged = (AckHistory)(context.State ??= new AckHistory());
        if (request.AckId is { } id && acknowledged.Contains(id))
        {
            Acknowledge(context, id, "Duplicate", "A request with this ackId has taken effect before.");
            return;
        }

        var (error, explanation) = (default(string), "");
        try
        {
            switch (request.Kind)
            {
                case JsonRequestKind.Join:
                    (error, explanation) = await context.IsAllowedAsync(request.Group!, GroupOperation.Join) ? await JoinAsync(context, request.Group!) : MayNotJoin;
                    break;
                case JsonRequestKind.Leave:
                    context.Leave(request.Group!);
                    break;
                case JsonRequestKind.Send:
                    if (await context.IsAllowedAsync(request.Group!, GroupOperation.Publish)) await context.PublishAllowedAsync(request.Group!, request.Data, request.NoEcho);
                    else (error, explanation) = ("Forbidden", "This client may not publish to the group.");
                    break;
                case JsonRequestKind.SetState:
                    (error, explanation) = context.SetState(request.Group!, request.State);
                    break;
                case JsonRequestKind.SubscribeStates:
                    (error, explanation) = await context.CheckSubscriptionAsync(request.Group!);
                    break;
                case JsonRequestKind.UnsubscribeStates:
                    context.UnsubscribeFromStates(request.Group!);
                    break;
                default:
                    if (!await context.RaiseAsync(request.Event!, request.Data)) (error, explanation) = ("BadRequest", "Nothing in this app takes the event.");
                    break;
            }
        }
        catch (BackplaneException) when (request.AckId is not null)
        {
            // Neither the client nor the app has done anything wrong: it stays, and can try again.
            Acknowledge(context, request.AckId.Value, "InternalServerError", Connection.ClusterUnreachable);
            return;
        }
        catch (Exception) when (request.AckId is not null)
        {
            Acknowledge(context, request.AckId.Value, "InternalServerError", "The server failed to handle this request.");
            throw;
        }

        if (request.AckId is { } ackId)
        {
            if (error is null) acknowledged.Add(ackId);
            Acknowledge(context, ackId, error, explanation);
        }

        // The answer goes first.
        if (error is null && request.Kind == JsonRequestKind.SubscribeStates) context.SubscribeToStates(request.Group!);
    }

    static async ValueTask<(string?, string)> JoinAsync(ProtocolContext context, string group)
    {
        try
        {
            return await context.JoinAllowedAsync(group) ? (null, "") : MayNotJoin;
        }
        catch (InvalidOperationException exception) when (context.HasMaxGroups)
        {
            return ("BadRequest", exception.Message);
        }
    }

    /// <summary>Who asks for no answer, or cannot be given one, is told by the end of the connection.</summary>
    static void Refuse(ProtocolContext context, ulong? ackId, string problem)
    {
        if (ackId is { } id) Acknowledge(context, id, "BadRequest", problem);
        else context.Close(WebSocketCloseStatus.PolicyViolation, problem);
    }

    static void Acknowledge(ProtocolContext context, ulong ackId, string? error, string explanation) =>
        context.Send(Write((ackId, error, explanation), static (writer, ack) =>
        {
            writer.WriteString("type"u8, "ack"u8);
            writer.WriteNumber("ackId"u8, ack.ackId);
            writer.WriteBoolean("success"u8, ack.error is null);
            if (ack.error is null) return;
            writer.WriteStartObject("error"u8);
            writer.WriteString("name"u8, ack.error);
            writer.WriteString("message"u8, ack.explanation);
            writer.WriteEndObject();
        }));

    /// <summary>A JSON object.</summary>
    public static ReadOnlyMemory<byte> Write<T>(T what, Action<Utf8JsonWriter, T> write)
    {
        var output = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(output, WriterOptions))
        {
            writer.WriteStartObject();
            write(writer, what);
            writer.WriteEndObject();
        }

        return output.WrittenMemory;
    }
}
