using System.Buffers.Text;
using System.Text;
using System.Text.Json;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Protocols;

/// <summary>One request from a client that uses <see cref="JsonProtocol"/>.</summary>
struct JsonRequest
{
    public JsonRequestKind Kind { get; private set; }

    public ulong? AckId { get; private set; }

    public ulong? SequenceId { get; private set; }

    public string? Group { get; private set; }

    public string? Event { get; private set; }

    /// <summary>The filter of a client that joins a group. Null accepts every message.</summary>
    public SubscriptionFilter? Filter { get; private set; }

    public bool NoEcho { get; private set; }

    public Message Data { get; private set; }

    /// <summary>The state as a JSON object whose values are strings. Empty if the request contains no state.</summary>
    public ReadOnlyMemory<byte> State { get; private set; }

    string? DataType { get; set; }

    /// <summary>Parses a message from an untrusted client.</summary>
    /// <param name="json">The message as valid UTF-8. The result references this memory.</param>
    /// <param name="problem">
    /// The problem and the fix. Null for a valid message. An invalid message may still have an <see cref="AckId"/>.
    /// </param>
    public static JsonRequest Parse(ReadOnlyMemory<byte> json, out string? problem)
    {
        var request = default(JsonRequest);
        try
        {
            problem = request.Read(json);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // The text is not JSON, or a string contains invalid Unicode.
            request.AckId = null;
            problem = "The message is not valid JSON (RFC 8259). Send one JSON object in each message.";
        }

        return request;
    }

    string? Read(ReadOnlyMemory<byte> json)
    {
        var reader = new Utf8JsonReader(json.Span);
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            return "The message is not a JSON object. Send one JSON object in each message.";
        var (data, dataKind, problem) = (default(ReadOnlyMemory<byte>), JsonTokenType.None, default(string));
        var state = default(ReadOnlyMemory<byte>);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (reader.ValueTextEquals("data"u8))
            {
                data = ReadValue(ref reader, json, out dataKind);
            }
            else if (reader.ValueTextEquals("state"u8))
            {
                state = ReadValue(ref reader, json, out var kind);
                if (kind == JsonTokenType.Null) state = default;
            }
            else
            {
                // Read all properties, because the ackId may be the last property.
                var found = ReadProperty(ref reader);
                problem ??= found;
            }
        }

        if (reader.Read())
            return "The message contains more than one JSON value. Send one JSON object in each message.";
        return problem ?? CheckNames() ?? ReadData(data, dataKind) ?? ReadState(state);
    }

    static ReadOnlyMemory<byte> ReadValue(ref Utf8JsonReader reader, ReadOnlyMemory<byte> json, out JsonTokenType kind)
    {
        reader.Read();
        var start = (int)reader.TokenStartIndex;
        kind = reader.TokenType;
        reader.Skip();
        return json[start..(int)reader.BytesConsumed];
    }

    string? ReadProperty(ref Utf8JsonReader reader)
    {
        if (reader.ValueTextEquals("ackId"u8))
        {
            if (ReadNumber(ref reader) is not { } ackId) return Skip(ref reader, "ackId must be a whole number.");
            AckId = ackId;
        }
        else if (reader.ValueTextEquals("sequenceId"u8))
        {
            if (ReadNumber(ref reader) is not { } sequenceId)
                return Skip(ref reader, "sequenceId must be a whole number.");
            SequenceId = sequenceId;
        }
        else if (reader.ValueTextEquals("noEcho"u8))
        {
            reader.Read();
            if (reader.TokenType is not (JsonTokenType.True or JsonTokenType.False))
                return Skip(ref reader, "noEcho must be true or false.");
            NoEcho = reader.GetBoolean();
        }
        else if (reader.ValueTextEquals("type"u8))
        {
            if (ReadString(ref reader) is not { } type) return Skip(ref reader, "type must be a string.");
            Kind = type switch
            {
                "joinGroup" => JsonRequestKind.Join,
                "leaveGroup" => JsonRequestKind.Leave,
                "sendToGroup" => JsonRequestKind.Send,
                "event" => JsonRequestKind.Event,
                "ping" => JsonRequestKind.Ping,
                "sequenceAck" => JsonRequestKind.SequenceAck,
                "setGroupState" => JsonRequestKind.SetState,
                "subscribeGroupState" => JsonRequestKind.SubscribeStates,
                "unsubscribeGroupState" => JsonRequestKind.UnsubscribeStates,
                _ => JsonRequestKind.Unknown,
            };
        }
        else if (reader.ValueTextEquals("group"u8))
        {
            if ((Group = ReadString(ref reader)) is null) return Skip(ref reader, "group must be a string.");
        }
        else if (reader.ValueTextEquals("event"u8))
        {
            if ((Event = ReadString(ref reader)) is null) return Skip(ref reader, "event must be a string.");
        }
        else if (reader.ValueTextEquals("filter"u8))
        {
            return ReadFilter(ref reader);
        }
        else if (reader.ValueTextEquals("dataType"u8))
        {
            if ((DataType = ReadString(ref reader)) is null) return Skip(ref reader, "dataType must be a string.");
        }
        else
        {
            reader.Skip();
        }

        return null;
    }

    string? ReadFilter(ref Utf8JsonReader reader)
    {
        if (ReadString(ref reader) is not { } text)
            return reader.TokenType == JsonTokenType.Null ? null : Skip(ref reader, "filter must be a string.");
        if (!SubscriptionFilter.TryParse(text, out var filter, out var problem)) return problem;
        Filter = filter;
        return null;
    }

    static ulong? ReadNumber(ref Utf8JsonReader reader)
    {
        reader.Read();
        return reader.TokenType == JsonTokenType.Number && reader.TryGetUInt64(out var number) ? number : null;
    }

    static string? ReadString(ref Utf8JsonReader reader)
    {
        reader.Read();
        return reader.TokenType == JsonTokenType.String ? reader.GetString() : null;
    }

    static string Skip(ref Utf8JsonReader reader, string problem)
    {
        reader.Skip();
        return problem;
    }

    readonly string? CheckNames() => Kind switch
    {
        JsonRequestKind.Unknown =>
            // This text may become a close reason, so its maximum length is 123 bytes.
            "type must be joinGroup, leaveGroup, sendToGroup, event, sequenceAck, ping, setGroupState " +
            "or (un)subscribeGroupState.",
        JsonRequestKind.Join or JsonRequestKind.Leave or JsonRequestKind.Send or JsonRequestKind.SetState
            or JsonRequestKind.SubscribeStates or JsonRequestKind.UnsubscribeStates => GroupName.Problem(Group),
        JsonRequestKind.SequenceAck when SequenceId is null => "sequenceId is missing. Add the sequenceId property.",
        JsonRequestKind.Event when GroupName.Problem(Event) is not null =>
            "event must be a name of 1 to 255 characters without control characters.",
        _ => null,
    };

    string? ReadState(ReadOnlyMemory<byte> state)
    {
        if (Kind != JsonRequestKind.SetState) return null;
        State = state;
        return state.IsEmpty || GroupState.IsValid(state)
            ? null
            : "state must be a JSON object whose values are all strings.";
    }

    string? ReadData(ReadOnlyMemory<byte> data, JsonTokenType kind)
    {
        if (Kind is not (JsonRequestKind.Send or JsonRequestKind.Event)) return null;
        if (kind == JsonTokenType.None) return "data is missing. Add the data property.";
        // Published clients differ in the letter case of the data type.
        switch (DataType?.ToLowerInvariant() ?? "json")
        {
            case "json":
                Data = new Message(data, MessageType.Text) { IsJson = true };
                return null;
            case "text" when kind == JsonTokenType.String:
                Data = new Message(Unescape(data), MessageType.Text);
                return null;
            case "binary" when kind == JsonTokenType.String && Base64.IsValid(Unescape(data).Span):
                var base64 = Encoding.UTF8.GetString(Unescape(data).Span);
                Data = new Message(Convert.FromBase64String(base64), MessageType.Binary);
                return null;
            case "text":
                return "data must be a string if dataType is text.";
            case "binary":
                return "data must be a base64 string if dataType is binary.";
            default:
                return "dataType must be text, json or binary.";
        }
    }

    /// <summary>Returns the text of a JSON string. The input includes the quotes.</summary>
    static ReadOnlyMemory<byte> Unescape(ReadOnlyMemory<byte> quoted)
    {
        if (!quoted.Span.Contains((byte)'\\')) return quoted[1..^1];
        var reader = new Utf8JsonReader(quoted.Span);
        reader.Read();
        return Encoding.UTF8.GetBytes(reader.GetString()!);
    }
}
