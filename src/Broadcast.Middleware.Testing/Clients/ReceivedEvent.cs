namespace Broadcast.Middleware.Testing;

/// <summary>An event that an <see cref="EventStreamTestClient"/> received (HTML Standard, section 9.2).</summary>
public sealed class ReceivedEvent : IEquatable<ReceivedEvent>
{
    internal ReceivedEvent(string type, string data) => (Type, Data) = (type, data);

    /// <summary>
    /// The name of the event: <c>message</c> for a text message, <c>binary</c> for a binary message, or <c>missed</c>,
    /// <c>heartbeat</c> or <c>close</c>.
    /// </summary>
    public string Type { get; }

    /// <summary>The data. A binary message is in base64.</summary>
    public string Data { get; }

    /// <inheritdoc />
    public bool Equals(ReceivedEvent? other) => other?.Type == Type && other.Data == Data;

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as ReceivedEvent);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Type, Data);

    /// <summary>Returns a text for assertion messages and debuggers.</summary>
    public override string ToString() => $"event '{Type}': {Data}";
}
