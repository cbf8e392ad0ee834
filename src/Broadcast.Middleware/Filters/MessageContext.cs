using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Filters;

namespace Broadcast.Middleware;

/// <summary>The context of a message filter.</summary>
/// <remarks>
/// The server reuses this object for the next message of the connection. Do not use the context after the task of the
/// filter has completed.
/// </remarks>
public sealed class MessageContext : FilterContext
{
    readonly Recipients _home;
    Message _received;

    /// <summary>Creates a context for a unit test of a filter.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="broadcaster">The broadcaster.</param>
    /// <param name="message">The message.</param>
    /// <param name="services">The services. Null if the filter uses none.</param>
    /// <param name="eventName">See <see cref="Event"/>.</param>
    public MessageContext(
        IBroadcastConnection connection,
        IBroadcaster broadcaster,
        Message message,
        IServiceProvider? services = null,
        string? eventName = null)
        : base(connection, broadcaster, services)
    {
        var home = connection.HomeGroup;
        _home = string.IsNullOrEmpty(home) ? Recipients.Everyone : Recipients.Group(home);
        Reset(message);
        Event = eventName;
    }

    internal MessageContext(Connection connection, FilterActions actions) : base(connection, actions) =>
        _home = Recipients.Group(connection.HomeGroup);

    /// <summary>
    /// The message. Set this property to publish another message. The payload of the received message is invalid after
    /// the task of the filter has completed.
    /// </summary>
    public Message Message { get; set; }

    /// <summary>The message as text. The getter decodes the payload. The setter creates a text message.</summary>
    public string Text
    {
        get => Message.ToString();
        set => Message = Message.FromText(value);
    }

    /// <summary>The recipients. Default: the home group of the connection, including the sender.</summary>
    public Recipients Recipients { get; set; }

    /// <summary>
    /// The name of an event, for protocols that support events. Null if the client sent a message to publish. A client
    /// sends an event to the app, not to other clients. To handle an event, do not call <c>next</c>. If no filter
    /// handles an event, the protocol answers with an error.
    /// </summary>
    public string? Event { get; internal set; }

    /// <summary>
    /// The result of the publish. The result is available after <c>next</c> has completed. In a unit test, <c>next</c>
    /// can set this property.
    /// </summary>
    public PublishResult Result { get; set; }

    /// <summary>Excludes the sender from the recipients.</summary>
    public void ExcludeSender() => Recipients =
        OwnConnection is { } connection ? Recipients.Except(connection.Self) : Recipients.Except(Connection.Id);

    /// <summary>
    /// True if no filter changed the type, the payload or <c>IsJson</c>. The server has already validated this payload.
    /// </summary>
    internal bool HasReceivedPayload => Message.Type == _received.Type
        && Message.IsJson == _received.IsJson && Message.Payload.Equals(_received.Payload);

    /// <summary>The message to publish. The client stays the sender, even if a filter replaced the message.</summary>
    internal Message Outcome => Message with { Sender = _received.Sender };

    /// <summary>True if no filter handled the event.</summary>
    internal bool IsUnhandled { get; set; }

    /// <summary>True if the last step of the filters has published the message.</summary>
    internal bool IsPublished { get; private set; }

    internal void OnPublished(PublishResult result) => (Result, IsPublished) = (result, true);

    internal void Reset(Message received)
    {
        (_received, Message, Recipients, Result) = (received, received, _home, default);
        (Event, IsUnhandled, IsPublished) = (null, false, false);
    }
}
