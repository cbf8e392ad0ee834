using System.Buffers;
using System.Net.WebSockets;
using System.Text.Encodings.Web;
using System.Text.Json;
using Broadcast.Middleware.Delivery;

namespace Broadcast.Middleware.Protocols;

/// <summary>
/// The subprotocol <c>json.webpubsub.azure.v1</c>, which the published Web PubSub clients use. Each message is a JSON
/// object. This project is not affiliated with the authors of these clients.
/// </summary>
class JsonProtocol : IBroadcastProtocol
{
    // The output is not HTML, so the writer escapes only the characters that JSON requires.
    static readonly JsonWriterOptions WriterOptions = new()
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        SkipValidation = true,
    };

    const string InternalError = "InternalServerError";

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

    public ReadOnlyMemory<byte> Connected(IBroadcastConnection connection) => Connected(connection, null);

    /// <summary>Returns the first message of a connection. A client that can reconnect receives a token.</summary>
    public static ReadOnlyMemory<byte> Connected(IBroadcastConnection connection, string? reconnectionToken) =>
        Write((connection, reconnectionToken), static (writer, facts) =>
        {
            writer.WriteString("type"u8, "system"u8);
            writer.WriteString("event"u8, "connected"u8);
            if (facts.connection.UserId is { } userId) writer.WriteString("userId"u8, userId);
            writer.WriteString("connectionId"u8, facts.connection.Id);
            if (facts.reconnectionToken is { } token) writer.WriteString("reconnectionToken"u8, token);
        });

    public ReadOnlyMemory<byte> Closing(WebSocketCloseStatus status, string? reason) =>
        Write(reason, static (writer, reason) =>
        {
            writer.WriteString("type"u8, "system"u8);
            writer.WriteString("event"u8, "disconnected"u8);
            writer.WriteString("message"u8, reason ?? "");
        });

    public Task ReceiveAsync(ProtocolContext context, Message message)
    {
        if (message.Type != MessageType.Text)
        {
            context.Close(
                WebSocketCloseStatus.InvalidMessageType,
                "This subprotocol accepts only text. Send bytes as base64 with dataType binary.");
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

    /// <summary>
    /// Records that the client has received all messages up to a sequence ID. Messages of this protocol have no
    /// sequence IDs, so this method does nothing.
    /// </summary>
    protected virtual void Acknowledge(ProtocolContext context, ulong sequenceId) { }

    static async Task AnswerAsync(ProtocolContext context, JsonRequest request)
    {
        var history = (AckHistory)(context.State ??= new AckHistory());
        if (request.AckId is { } id && history.Contains(id))
        {
            Answer(context, id, new(
                "Duplicate", "A request with this ackId has already taken effect. Use a new ackId for each request."));
            return;
        }

        RequestResult result;
        try
        {
            result = await HandleAsync(context, request);
        }
        catch (BackplaneException) when (request.AckId is not null)
        {
            // The client did not cause this error. Keep the connection open, so that the client can try again.
            Answer(context, request.AckId.Value, new(InternalError, CloseReasons.ClusterUnreachable));
            return;
        }
        catch (Exception) when (request.AckId is not null)
        {
            Answer(context, request.AckId.Value, new(InternalError, "The server failed to handle this request."));
            throw;
        }

        if (request.AckId is { } ackId)
        {
            if (result.Error is null) history.Add(ackId);
            Answer(context, ackId, result);
        }

        // The client must receive the answer before the first snapshot.
        if (result.Error is null && request.Kind == JsonRequestKind.SubscribeStates)
            context.SubscribeToStates(request.Group!);
    }

    static async ValueTask<RequestResult> HandleAsync(ProtocolContext context, JsonRequest request)
    {
        switch (request.Kind)
        {
            case JsonRequestKind.Join:
                return await JoinAsync(context, request.Group!, request.Filter);
            case JsonRequestKind.Leave:
                context.Leave(request.Group!);
                return RequestResult.Success;
            case JsonRequestKind.Send:
                if (!await context.IsAllowedAsync(request.Group!, GroupOperation.Publish))
                    return RequestResult.PublishForbidden;
                await context.PublishAllowedAsync(request.Group!, request.Data, request.NoEcho);
                return RequestResult.Success;
            case JsonRequestKind.SetState:
                return await context.SetStateAsync(request.Group!, request.State);
            case JsonRequestKind.SubscribeStates:
                return await context.CheckSubscriptionAsync(request.Group!);
            case JsonRequestKind.UnsubscribeStates:
                context.UnsubscribeFromStates(request.Group!);
                return RequestResult.Success;
            default:
                return await context.RaiseAsync(request.Event!, request.Data)
                    ? RequestResult.Success
                    : RequestResult.BadRequest("This app does not handle the event. Check the event name.");
        }
    }

    static async ValueTask<RequestResult> JoinAsync(ProtocolContext context, string group, SubscriptionFilter? filter)
    {
        if (!await context.IsAllowedAsync(group, GroupOperation.Join)) return RequestResult.JoinForbidden;
        if (filter is not null && !context.AllowsFilters) return RequestResult.FilterForbidden;
        if (filter is not null && context.IsIn(group)) return RequestResult.FilterUnchangeable;
        try
        {
            return await context.JoinAllowedAsync(group, filter) ? RequestResult.Success : RequestResult.JoinForbidden;
        }
        catch (InvalidOperationException exception) when (context.HasMaxGroups(group))
        {
            return RequestResult.BadRequest(exception.Message);
        }
    }

    /// <summary>
    /// Answers an invalid request with an error. If the client did not ask for an answer, the method closes the
    /// connection.
    /// </summary>
    static void Refuse(ProtocolContext context, ulong? ackId, string problem)
    {
        if (ackId is { } id) Answer(context, id, RequestResult.BadRequest(problem));
        else context.Close(WebSocketCloseStatus.PolicyViolation, problem);
    }

    static void Answer(ProtocolContext context, ulong ackId, RequestResult result) =>
        context.Send(Write((ackId, result), static (writer, ack) =>
        {
            writer.WriteString("type"u8, "ack"u8);
            writer.WriteNumber("ackId"u8, ack.ackId);
            writer.WriteBoolean("success"u8, ack.result.Error is null);
            if (ack.result.Error is null) return;
            writer.WriteStartObject("error"u8);
            writer.WriteString("name"u8, ack.result.Error);
            writer.WriteString("message"u8, ack.result.Message);
            writer.WriteEndObject();
        }));

    /// <summary>Writes a JSON object.</summary>
    public static ReadOnlyMemory<byte> Write<T>(T value, Action<Utf8JsonWriter, T> writeProperties)
    {
        var output = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(output, WriterOptions))
        {
            writer.WriteStartObject();
            writeProperties(writer, value);
            writer.WriteEndObject();
        }

        return output.WrittenMemory;
    }
}
