using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Broadcast.Middleware;

/// <summary>A message: a payload and its type.</summary>
/// <param name="payload">
/// The bytes. The bytes of a text message must be valid UTF-8. Publishing copies the bytes.
/// </param>
/// <param name="type">The type.</param>
public readonly struct Message(ReadOnlyMemory<byte> payload, MessageType type) : IEquatable<Message>
{
    /// <summary>
    /// The bytes. <c>message with { Payload = bytes }</c> copies the message, and replaces only the bytes.
    /// </summary>
    public ReadOnlyMemory<byte> Payload { get; init; } = payload;

    /// <summary>The type of the message: text or binary.</summary>
    public MessageType Type { get; } = type;

    /// <summary>
    /// The key of the value that the message updates, such as a stock symbol or the ID of a player. With
    /// <see cref="SlowConsumer.Conflate"/>, a slow client skips messages that a newer message with the same key
    /// replaces. With <see cref="GroupOptions.RetainLatestPerKey"/>, the group keeps the newest message of each key for
    /// later members. A key has 1 to 256 characters and no unpaired surrogate. Default: null. Without a key, no newer
    /// message replaces this message, and no group keeps this message as a retained value.
    /// </summary>
    public string? Key { get; init; }

    /// <summary>
    /// True if the message removes the retained value of its <see cref="Key"/>: see
    /// <see cref="GroupOptions.RetainLatestPerKey"/>. The current members receive this message like any other message,
    /// so a client can remove the value from its page. Later members do not receive the message. Default: false.
    /// </summary>
    public bool RemoveKey { get; init; }

    /// <summary>
    /// True if a text message contains JSON (RFC 8259). Clients of a JSON protocol then receive a JSON value instead of
    /// a string. Publishing throws an exception for invalid JSON. Default: false.
    /// </summary>
    public bool IsJson { get; init; }

    /// <summary>
    /// True if the server must not compress the message: see <see cref="BroadcastOptions.CompressMessagesAbove"/>. Set
    /// this property if the message contains a secret and also text that another user chooses. The size of the
    /// compressed message would reveal whether that text repeats a part of the secret (the attacks CRIME and BREACH).
    /// Default: false.
    /// </summary>
    public bool DisableCompression { get; init; }

    /// <summary>
    /// True for a message that is useful only now, such as "Ann is typing" or the coordinates of a mouse pointer. The
    /// server delivers a transient message in order with the other messages, but never stores or replays the message. A
    /// transient message has no position, and does not change the positions of other messages. A client that joins or
    /// reconnects later does not receive the message, even with the reliable JSON protocol. Default: false.
    /// </summary>
    public bool IsTransient { get; init; }

    /// <summary>
    /// The ID of a publish that the app may repeat, such as the ID of a webhook or of an outbox row. Within
    /// <see cref="BroadcastOptions.MessageIdWindow"/>, a second publish with the same ID and recipients has no effect.
    /// <see cref="PublishResult.IsDuplicate"/> is then true. An ID has 1 to 128 characters and no unpaired surrogate.
    /// The clients do not receive the ID. A transient message cannot have an ID. Default: null, which means no ID.
    /// </summary>
    public string? Id { get; init; }

    /// <summary>
    /// The tags by which a <see cref="SubscriptionFilter"/> selects the message. The clients do not receive the tags.
    /// Default: null, which means no tags.
    /// </summary>
    public MessageTags? Tags { get; init; }

    /// <summary>
    /// The client that sent the message. Null if the app or a raw client sent the message.
    /// </summary>
    internal MessageSender? Sender { get; init; }

    /// <summary>True if the payload is already in the format of the receiving connection's protocol.</summary>
    internal bool IsVerbatim { get; init; }

    /// <summary>Creates a text message.</summary>
    /// <param name="text">
    /// The text. UTF-8 cannot encode an unpaired surrogate, so each unpaired surrogate becomes U+FFFD.
    /// </param>
    public static Message FromText(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new(Encoding.UTF8.GetBytes(text), MessageType.Text);
    }

    /// <summary>Creates a text message that contains a value as JSON (RFC 8259), without reflection.</summary>
    /// <param name="value">The value.</param>
    /// <param name="typeInfo">The type information, from a <c>JsonSerializerContext</c>.</param>
    /// <exception cref="NotSupportedException">The serializer does not support the value.</exception>
    public static Message FromJson<T>(T value, JsonTypeInfo<T> typeInfo) =>
        new(JsonSerializer.SerializeToUtf8Bytes(value, typeInfo), MessageType.Text) { IsJson = true };

    /// <summary>
    /// Decodes the payload as UTF-8 text. Invalid bytes become U+FFFD. Each call decodes the payload again.
    /// </summary>
    public override string ToString() => Encoding.UTF8.GetString(Payload.Span);

    /// <summary>True if the bytes of the payloads and all public properties are equal.</summary>
    /// <param name="other">The other message.</param>
    public bool Equals(Message other) => Payload.Span.SequenceEqual(other.Payload.Span) && Type == other.Type
        && Key == other.Key && RemoveKey == other.RemoveKey && IsJson == other.IsJson
        && DisableCompression == other.DisableCompression && IsTransient == other.IsTransient
        && Id == other.Id && Equals(Tags, other.Tags);

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is Message other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode()
    {
        var hash = default(HashCode);
        hash.AddBytes(Payload.Span);
        hash.Add(Key);
        hash.Add(Id);
        return hash.ToHashCode();
    }

    /// <summary>True if the bytes of the payloads and all public properties are equal.</summary>
    public static bool operator ==(Message left, Message right) => left.Equals(right);

    /// <summary>True if the bytes of the payloads or other public properties differ.</summary>
    public static bool operator !=(Message left, Message right) => !left.Equals(right);
}
