using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Filters;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware;

/// <summary>The context that all filters receive for one event (a connect, a message or a disconnect).</summary>
public abstract class FilterContext
{
    // The server sets the next two fields. Both fields are null if the app constructs the context for a unit test.
    readonly Connection? _connection;
    readonly FilterActions? _actions;
    IServiceProvider? _services;
    AsyncServiceScope? _scope;

    private protected FilterContext(
        IBroadcastConnection connection, IBroadcaster broadcaster, IServiceProvider? services)
    {
        ArgumentNullException.ThrowIfNull(connection);
        ArgumentNullException.ThrowIfNull(broadcaster);
        Connection = connection;
        Broadcaster = broadcaster;
        _services = services;
    }

    private protected FilterContext(Connection connection, FilterActions actions)
    {
        _connection = connection;
        _actions = actions;
        Connection = connection;
        Broadcaster = actions.Broadcaster;
    }

    /// <summary>The connection.</summary>
    public IBroadcastConnection Connection { get; }

    /// <summary>The broadcaster of the connection.</summary>
    public IBroadcaster Broadcaster { get; }

    /// <summary>
    /// The services of this event (a connect, a message or a disconnect). Each event has its own scope. The server
    /// creates the scope when a filter first uses this property, and disposes the scope after the last filter.
    /// </summary>
    /// <exception cref="InvalidOperationException">The app constructed the context without services.</exception>
    public IServiceProvider Services
    {
        get
        {
            if (_services is not null) return _services;
            if (_actions is null)
            {
                throw new InvalidOperationException(
                    "The context has no services. Pass a service provider to its constructor.");
            }

            _scope = _actions.CreateScope();
            return _services = _scope.Value.ServiceProvider;
        }
    }

    /// <summary>Adds this connection to a group.</summary>
    /// <param name="group">The name of the group: 1 to 255 characters, without control characters.</param>
    /// <param name="cancellationToken">
    /// Cancels the join before it starts. In a cluster, the token also ends the wait for the backplane. The connection
    /// then does not join.
    /// </param>
    /// <returns>
    /// False if the connection has ended or is already a member, or if the registry refuses the join.
    /// </returns>
    /// <inheritdoc cref="IBroadcaster.JoinAsync(string, string, CancellationToken)" path="/exception"/>
    public ValueTask<bool> JoinAsync(string group, CancellationToken cancellationToken = default) =>
        Broadcaster.JoinAsync(Connection.Id, group, cancellationToken);

    /// <summary>Adds this connection to a group and selects the history that the connection receives first.</summary>
    /// <param name="group">The name of the group: 1 to 255 characters, without control characters.</param>
    /// <param name="replay">The part of the history to send.</param>
    /// <param name="cancellationToken">
    /// Cancels the join before it starts. In a cluster, the token also ends the wait for the backplane. The connection
    /// then does not join.
    /// </param>
    /// <inheritdoc cref="IBroadcaster.JoinAsync(string, string, Replay, CancellationToken)" path="/exception"/>
    public ValueTask<JoinResult> JoinAsync(
        string group, Replay replay, CancellationToken cancellationToken = default) =>
        Broadcaster.JoinAsync(Connection.Id, group, replay, cancellationToken);

    /// <summary>
    /// Adds this connection to a group. The connection receives only the messages that a filter accepts.
    /// </summary>
    /// <inheritdoc cref="IBroadcaster.JoinAsync(string, string, Replay, SubscriptionFilter, CancellationToken)"
    /// path="/remarks"/>
    /// <param name="group">The name of the group: 1 to 255 characters, without control characters.</param>
    /// <param name="replay">The part of the history to send.</param>
    /// <param name="filter">The filter. Null accepts every message.</param>
    /// <param name="cancellationToken">
    /// Cancels the join before it starts. In a cluster, the token also ends the wait for the backplane. The connection
    /// then does not join.
    /// </param>
    /// <inheritdoc cref="IBroadcaster.JoinAsync(string, string, Replay, CancellationToken)" path="/exception"/>
    public ValueTask<JoinResult> JoinAsync(
        string group, Replay replay, SubscriptionFilter? filter, CancellationToken cancellationToken = default) =>
        Broadcaster.JoinAsync(Connection.Id, group, replay, filter, cancellationToken);

    /// <summary>
    /// Removes this connection from a group. The connection still receives the messages that were published before the
    /// call.
    /// </summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="cancellationToken">Cancels the call before it starts.</param>
    /// <returns>False if the connection is not a member.</returns>
    /// <inheritdoc cref="IBroadcaster.LeaveAsync" path="/exception"/>
    public ValueTask<bool> LeaveAsync(string group, CancellationToken cancellationToken = default) =>
        Broadcaster.LeaveAsync(Connection.Id, group, cancellationToken);

    /// <summary>
    /// Sends a message to this connection only, in order with the messages of its groups. If half of
    /// <see cref="BroadcastOptions.MaxBacklogBytes"/> is unsent, the call first waits until the client has received
    /// more messages. A filter that awaits each call can therefore send any number of messages.
    /// </summary>
    /// <remarks>
    /// <see cref="BroadcastOptions.SendTimeout"/> limits the wait, because the server aborts the connection of a client
    /// that does not read. A client that can reconnect receives the message after a reconnect. However, a waiting call
    /// ends when the client disconnects. For a message with a <see cref="Message.Id"/>, the method calls
    /// <see cref="IBroadcaster.PublishAsync"/>. The call then does not wait for the client, and the metric of published
    /// messages counts the message. If a connect filter calls this method before <c>next</c>, a client of the
    /// subprotocol <c>positions.broadcast.v1</c> may receive the message before the frame with its first position.
    /// </remarks>
    /// <param name="message">The message.</param>
    /// <param name="cancellationToken">
    /// Cancels the wait. The server then does not send the message. For a message with a <see cref="Message.Id"/>, see
    /// <see cref="IBroadcaster.PublishAsync"/>.
    /// </param>
    /// <returns>
    /// One recipient. No recipient if the connection is closing or has ended, or if its client has disconnected and
    /// cannot reconnect.
    /// </returns>
    /// <inheritdoc cref="IBroadcaster.PublishAsync" path="/exception"/>
    public ValueTask<PublishResult> ReplyAsync(Message message, CancellationToken cancellationToken = default) =>
        _actions is null || message.Id is not null
            ? Broadcaster.PublishAsync(message, Recipients.Connection(Connection.Id), cancellationToken)
            : _actions.ReplyAsync(_connection!, message, cancellationToken);

    /// <summary>
    /// Sends a text message to this connection only: see <see cref="ReplyAsync(Message, CancellationToken)"/>.
    /// </summary>
    /// <param name="text">The text.</param>
    /// <param name="cancellationToken">Cancels the wait. The server then does not send the message.</param>
    /// <inheritdoc cref="ReplyAsync(Message, CancellationToken)" path="/remarks|/returns|/exception"/>
    public ValueTask<PublishResult> ReplyAsync(string text, CancellationToken cancellationToken = default) =>
        ReplyAsync(Message.FromText(text), cancellationToken);

    /// <summary>
    /// Closes this connection. The client first receives all earlier messages, and then a close frame. The server drops
    /// further messages from the client.
    /// </summary>
    /// <inheritdoc cref="IBroadcaster.CloseAsync" path="/param[@name='status']|/param[@name='reason']"/>
    /// <exception cref="ArgumentException">The close code is not allowed, or the reason is too long.</exception>
    public void Close(WebSocketCloseStatus status = WebSocketCloseStatus.NormalClosure, string? reason = null)
    {
        CloseStatus.ThrowIfNotSendable(status, reason);
        if (_connection is not null) _connection.Close(EndReason.ClosedByApp, status, reason);
        else _ = Broadcaster.CloseAsync(Connection.Id, status, reason).AsTask();
    }

    /// <summary>The internal connection object. Null if the app constructed the context.</summary>
    internal Connection OwnConnection => _connection!;

    internal bool HasScope => _scope is not null;

    /// <summary>Disposes the scope of <see cref="Services"/>.</summary>
    internal ValueTask DisposeScopeAsync()
    {
        if (_scope is not { } scope) return default;
        (_scope, _services) = (null, null);
        return scope.DisposeAsync();
    }
}
