using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Broadcast.Middleware;

/// <summary>What is sent: some bytes, and whether they are text.</summary>
/// <param name="payload">The bytes; valid UTF-8 if the type is text. They are copied when the message is published.</param>
/// <param name="type">The type.</param>
public readonly struct Message(ReadOnlyMemory<byte> payload, MessageType type)
{
    /// <summary>The bytes.</summary>
    public ReadOnlyMemory<byte> Payload { get; } = payload;

    /// <summary>Text or binary.</summary>
    public MessageType Type { get; } = type;

    /// <summary>
    /// What the message is the latest state of, such as a stock's symbol or a player's id: with
    /// <see cref="SlowConsumer.Conflate"/>, a connection that lags is spared messages that newer ones with the same key have replaced.
    /// Null by default: it stands for itself.
    /// </summary>
    public string? Key { get; init; }

    /// <summary>
    /// Whether a text message holds JSON (RFC 8259), so that clients whose protocol knows JSON get a value and no string. Checked when it is
    /// published.
    /// </summary>
    public bool IsJson { get; init; }

    internal MessageSender? Sender { get; init; }

    internal bool IsVerbatim { get; init; }

    /// <summary>A text message.</summary>
    /// <param name="text">Lone surrogates, which have no encoding, become U+FFFD.</param>
    public static Message FromText(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new(Encoding.UTF8.GetBytes(text), MessageType.Text);
    }

    /// <summary>A text message that holds a value as JSON (RFC 8259), without reflection.</summary>
    /// <param name="value">The value.</param>
    /// <param name="typeInfo">From a <c>JsonSerializerContext</c>.</param>
    /// <exception cref="NotSupportedException">The value cannot be written as JSON.</exception>
    public static Message FromJson<T>(T value, JsonTypeInfo<T> typeInfo) =>
        new(JsonSerializer.SerializeToUtf8Bytes(value, typeInfo), MessageType.Text) { IsJson = true };

    /// <summary>The payload as text, if it is UTF-8; bytes that are not become U+FFFD. Decoded at each call.</summary>
    public override string ToString() => Encoding.UTF8.GetString(Payload.Span);
}
