namespace Broadcast.Middleware.Testing;

/// <summary>An event that an <see cref="EventStreamTestClient"/> received (HTML Standard, section 9.2).</summary>
public sealed class ReceivedEvent
{
    internal ReceivedEvent(string type, string data) => (Type, Data) = (type, data);

    /// <summary>
    /// The name of the event: <c>message</c> for a text message, <c>binary</c> for a binary message, or <c>missed</c>,
    /// <c>heartbeat</c> or <c>close</c>.
    /// </summary>
    public string Type { get; }

    /// <summary>The data. A binary message is in base64.</summary>
    public string Data { get; }

    /// <summary>Returns a text for assertion messages and debuggers.</summary>
    public override string ToString() => $"event '{Type}': {Data}";
}
