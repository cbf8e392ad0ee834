namespace Broadcast.Middleware.Testing;

/// <summary>A message that a <see cref="StructuredTestClient"/> received.</summary>
public sealed class StructuredMessage : IEquatable<StructuredMessage>
{
    internal StructuredMessage(string? group, string? fromUserId, string dataType, string data) =>
        (Group, FromUserId, DataType, Data) = (group, fromUserId, dataType, data);

    /// <summary>
    /// The group of a message from a client with a JSON subprotocol. Null if the app or a raw client sent the message.
    /// </summary>
    public string? Group { get; }

    /// <summary>The user ID of the sender. Null if the sender is anonymous, a raw client or the app.</summary>
    public string? FromUserId { get; }

    /// <summary>The type of the data: <c>text</c>, <c>json</c> or <c>binary</c>.</summary>
    public string DataType { get; }

    /// <summary>The text, the JSON text, or the bytes in base64.</summary>
    public string Data { get; }

    /// <inheritdoc />
    public bool Equals(StructuredMessage? other) => other is not null
        && Group == other.Group && FromUserId == other.FromUserId && DataType == other.DataType && Data == other.Data;

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as StructuredMessage);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Group, FromUserId, DataType, Data);

    /// <summary>Returns a text for assertion messages and debuggers.</summary>
    public override string ToString() => $"{DataType} from {(Group is null ? "the app" : $"group '{Group}'")}: {Data}";
}
