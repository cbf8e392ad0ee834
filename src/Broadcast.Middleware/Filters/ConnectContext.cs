using System.Security.Claims;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Filters;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>
/// The context of a connect filter. The handshake is complete, but the connection has not joined its home group yet.
/// </summary>
/// <remarks>
/// To refuse the connection, do not call <c>next</c>. The server then closes the connection with close code 1008. To
/// use another code, call <see cref="FilterContext.Close"/>.
/// </remarks>
public sealed class ConnectContext : FilterContext
{
    // The server sets the next three fields. These fields are null if the app constructs the context for a unit test.
    readonly ConnectionManager? _connections;
    readonly UserIds? _userIds;
    readonly IFirstMessageReceiver? _receiver; // Also null for an event stream.
    readonly Queue<Message>? _messages; // The messages of a unit test.

    /// <summary>Creates a context for a unit test of a filter.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="broadcaster">The broadcaster.</param>
    /// <param name="httpContext">The request.</param>
    /// <param name="services">The services. Null for the services of the request.</param>
    /// <param name="messages">
    /// The messages that <see cref="ReceiveAsync"/> returns. After the last message, the method returns null, as if the
    /// client had closed the connection.
    /// </param>
    public ConnectContext(
        IBroadcastConnection connection,
        IBroadcaster broadcaster,
        HttpContext httpContext,
        IServiceProvider? services = null,
        IEnumerable<Message>? messages = null)
        : base(connection, broadcaster, services ?? httpContext?.RequestServices)
    {
        ArgumentNullException.ThrowIfNull(httpContext);
        HttpContext = httpContext;
        _messages = new(messages ?? []);
    }

    internal ConnectContext(
        Connection connection,
        FilterActions actions,
        HttpContext httpContext,
        Replay replay,
        ConnectionManager connections,
        UserIds userIds,
        IFirstMessageReceiver? receiver)
        : base(connection, actions) =>
        (HttpContext, Replay, _connections, _userIds, _receiver) =
            (httpContext, replay, connections, userIds, receiver);

    /// <summary>
    /// The HTTP request, with headers and query. Do not use the request after the connect filters have run.
    /// </summary>
    public HttpContext HttpContext { get; }

    /// <summary>
    /// The history that the connection receives first. The default is <see cref="GroupOptions.ReplayOnJoin"/> of the
    /// home group. For an event stream with a <c>Last-Event-ID</c>, the default is every message after that ID. For a
    /// raw WebSocket client with the query parameter <c>after</c>, the default is every message after that position.
    /// </summary>
    public Replay Replay { get; set; }

    /// <summary>
    /// Selects which messages to the home group and to <see cref="Recipients.Everyone"/> the connection receives. The
    /// client cannot remove this filter. If the client also chooses a filter (see
    /// <see cref="BroadcastOptions.AllowClientFilters"/>), both filters must accept a message. The filter does not
    /// apply to messages to the user or to the connection. Default: null, which accepts every message.
    /// </summary>
    public SubscriptionFilter? Filter { get; set; }

    /// <summary>
    /// The result of the join of the home group. The result is available after <c>next</c> has completed. In a unit
    /// test, <c>next</c> can set this property.
    /// </summary>
    public JoinResult Result { get; set; }

    /// <summary>
    /// Waits for the first message of the client, before the connection joins a group. A second call waits for the
    /// second message, and so on. The message filters do not receive these messages.
    /// </summary>
    /// <remarks>
    /// Use this method for a protocol in which the client identifies itself first. Set
    /// <see cref="BroadcastOptions.FirstMessageTimeout"/> to limit the wait. The timeout starts when the client
    /// connects, and limits the total wait for all messages that connect filters receive.
    /// </remarks>
    /// <returns>The message. Null if the client or the server closes the connection instead.</returns>
    /// <exception cref="InvalidOperationException">The client uses an event stream and sends no messages.</exception>
    public ValueTask<Message?> ReceiveAsync()
    {
        if (_receiver is not null) return _receiver.ReceiveFirstAsync();
        if (_messages is not null) return new(_messages.TryDequeue(out var message) ? message : null);
        throw new InvalidOperationException(
            "A client with an event stream sends no messages. Call ReceiveAsync only if " +
            "HttpContext.Request.Headers.Accept does not contain text/event-stream.");
    }

    /// <summary>
    /// Sets the user of the connection, before the connection joins a group. Use this method if the client sends its
    /// token in a message. The method sets <see cref="IBroadcastConnection.User"/> and
    /// <see cref="IBroadcastConnection.UserId"/>.
    /// </summary>
    /// <param name="user">The authenticated user.</param>
    /// <param name="expires">
    /// The time at which the authentication expires. The server then closes the connection with close code 1008: see
    /// <see cref="BroadcastOptions.CloseOnAuthenticationExpiration"/>. Null if the authentication never expires.
    /// </param>
    /// <returns>
    /// False if the user has reached <see cref="BroadcastOptions.MaxConnectionsPerUser"/> or the registry refuses the
    /// user. The server then closes the connection with close code 1008. The method also returns false if the
    /// connection has ended.
    /// </returns>
    /// <exception cref="InvalidOperationException">The connection is already in a group.</exception>
    public bool TrySetUser(ClaimsPrincipal user, DateTimeOffset? expires = null)
    {
        ArgumentNullException.ThrowIfNull(user);
        // After the end of the connection, the server may reuse the request.
        if (_connections is not null && OwnConnection.HasLeft) return false;
        HttpContext.User = user;
        return _connections is null
            || _connections.TrySetUser(OwnConnection, user, _userIds!.Get(HttpContext), expires);
    }
}
