using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Filters;
using Broadcast.Middleware.Messages;
using Broadcast.Middleware.Presence;
using Broadcast.Middleware.Protocols;

namespace Broadcast.Middleware;

/// <summary>
/// The actions that an <see cref="IBroadcastProtocol"/> can take for one client. A context handles one message at a
/// time.
/// </summary>
public sealed class ProtocolContext : IProtocolState
{
    readonly Connection _connection;
    readonly ProtocolActions _actions;
    readonly FilterPipeline _pipeline;
    readonly MessageContext _context;
    MessageSender? _sender;
    FeedSender? _states;
    bool _hasEnded;

    internal ProtocolContext(
        Connection connection, ProtocolActions actions, FilterPipeline pipeline, FilterActions filterActions)
    {
        _connection = connection;
        _actions = actions;
        _pipeline = pipeline;
        _context = new MessageContext(connection, filterActions);
    }

    /// <summary>The connection of the client.</summary>
    public IBroadcastConnection Connection => _connection;

    /// <summary>Data that the protocol stores for this client. The server does not use this property.</summary>
    public object? State { get; set; }

    MessageSender Sender => _sender ??= new(_connection.Id, _connection.UserId);

    /// <summary>Publishes a message to a group, through the filters.</summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="message">The message.</param>
    /// <param name="excludesSender">True to exclude the client from the recipients.</param>
    /// <returns>The result. The position is null if a filter dropped the message.</returns>
    /// <exception cref="ArgumentException">The group name or the message is invalid.</exception>
    /// <exception cref="UnauthorizedAccessException">The client is not allowed to publish to the group.</exception>
    /// <exception cref="InvalidOperationException">
    /// The group cannot retain the message, and drops the message: see <see cref="GroupOptions.RetainLatestPerKey"/>.
    /// </exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable. The recipients may still receive the message, but at most once.
    /// </exception>
    public async Task<PublishResult> PublishAsync(string group, Message message, bool excludesSender = false)
    {
        GroupName.ThrowIfInvalid(group);
        _actions.ThrowIfInvalid(message);
        if (!await IsAllowedAsync(group, GroupOperation.Publish))
            throw new UnauthorizedAccessException(RequestResult.PublishForbidden.Message);
        return await PublishAllowedAsync(group, message, excludesSender);
    }

    /// <summary>Passes an event to the filters: see <see cref="MessageContext.Event"/>.</summary>
    /// <param name="name">The name of the event.</param>
    /// <param name="message">The data of the event.</param>
    /// <returns>
    /// True if a filter handled the event. A filter that does not call <c>next</c> has handled the event.
    /// </returns>
    public async Task<bool> RaiseAsync(string name, Message message)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        _context.Reset(message with { Sender = Sender });
        _context.Event = name;
        await _pipeline.OnMessageAsync(_context);
        return !_context.IsUnhandled;
    }

    /// <summary>Adds the client to a group.</summary>
    /// <param name="group">The name of the group.</param>
    /// <returns>True if the client is now a member. False if the registry refuses the join.</returns>
    /// <exception cref="ArgumentException">The group name is invalid.</exception>
    /// <exception cref="UnauthorizedAccessException">The client is not allowed to join the group.</exception>
    /// <exception cref="InvalidOperationException">
    /// The connection is already in <see cref="BroadcastOptions.MaxGroupsPerConnection"/> groups.
    /// </exception>
    /// <exception cref="BackplaneException">The other nodes are unreachable. The client does not join.</exception>
    public Task<bool> JoinAsync(string group) => JoinAsync(group, null);

    /// <summary>
    /// Adds the client to a group. The client receives only the messages that a filter of the client accepts. If the
    /// client is already a member, the call changes nothing.
    /// </summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="filter">The filter that the client has chosen. Null accepts every message.</param>
    /// <returns>True if the client is now a member. False if the registry refuses the join.</returns>
    /// <exception cref="ArgumentException">The group name is invalid.</exception>
    /// <exception cref="UnauthorizedAccessException">
    /// The client is not allowed to join the group, or <see cref="BroadcastOptions.AllowClientFilters"/> is false.
    /// </exception>
    /// <exception cref="InvalidOperationException">
    /// The connection is already in <see cref="BroadcastOptions.MaxGroupsPerConnection"/> groups.
    /// </exception>
    /// <exception cref="BackplaneException">The other nodes are unreachable. The client does not join.</exception>
    public async Task<bool> JoinAsync(string group, SubscriptionFilter? filter)
    {
        GroupName.ThrowIfInvalid(group);
        if (!await IsAllowedAsync(group, GroupOperation.Join))
            throw new UnauthorizedAccessException(RequestResult.JoinForbidden.Message);
        if (filter is not null && !AllowsFilters)
            throw new UnauthorizedAccessException(RequestResult.FilterForbidden.Message);
        return await JoinAllowedAsync(group, filter);
    }

    /// <summary>Removes the client from a group. The call has no effect if the client is not a member.</summary>
    /// <param name="group">The name of the group.</param>
    /// <exception cref="ArgumentException">The group name is invalid.</exception>
    public void Leave(string group)
    {
        GroupName.ThrowIfInvalid(group);
        _connection.LeaveAsClient(group);
    }

    /// <summary>
    /// Sends a text to the client. The text must already have the format of the protocol. The client receives this text
    /// in order with the messages of its groups.
    /// </summary>
    /// <param name="text">The UTF-8 text. The call copies the text.</param>
    public void Send(ReadOnlyMemory<byte> text) => _connection.SendVerbatim(text);

    /// <summary>
    /// Closes the connection. The client first receives all earlier messages, and then a close frame.
    /// </summary>
    /// <inheritdoc cref="FilterContext.Close" path="/param"/>
    /// <exception cref="ArgumentException">The close code is not allowed, or the reason is too long.</exception>
    public void Close(WebSocketCloseStatus status, string? reason = null)
    {
        CloseStatus.ThrowIfNotSendable(status, reason);
        _connection.Close(EndReason.ClosedByApp, status, reason);
    }

    void IProtocolState.OnPrivateLogRead()
    {
        Volatile.Read(ref _states)?.OnReceived();
        EndpointState?.OnPrivateLogRead();
    }

    void IProtocolState.OnReconnected()
    {
        Volatile.Read(ref _states)?.Restart();
        EndpointState?.OnReconnected();
    }

    void IProtocolState.OnEnded()
    {
        lock (_context) _hasEnded = true;
        _states?.End();
        EndpointState?.OnEnded();
    }

    /// <summary>
    /// The state that the endpoint of the connection set before the first message. Null for most endpoints. The context
    /// replaces this state as the state of the connection, and forwards all calls to this state.
    /// </summary>
    internal IProtocolState? EndpointState { get; init; }

    internal async Task<PublishResult> PublishAllowedAsync(string group, Message message, bool excludesSender)
    {
        var recipients = Recipients.Group(group);
        _context.Reset(message with { Sender = Sender });
        _context.Recipients = excludesSender ? recipients.Except(_connection.Self) : recipients;
        await _pipeline.OnMessageAsync(_context);
        return _context.Result;
    }

    /// <summary>Publishes a received message to the home group, through the filters.</summary>
    internal Task PublishAsReceivedAsync(Message message)
    {
        _context.Reset(message);
        return _pipeline.OnMessageAsync(_context);
    }

    /// <summary>Records that the client has received all messages up to this sequence ID.</summary>
    internal void Acknowledge(ulong sequenceId) =>
        _connection.Writer.OnAcknowledged((long)Math.Min(sequenceId, long.MaxValue));

    /// <summary>Joins a group that the client may join. Returns true if the client is now a member.</summary>
    internal async ValueTask<bool> JoinAllowedAsync(string group, SubscriptionFilter? filter)
    {
        if (_connection.IsIn(group)) return true;
        var fromApp = await _actions.GetFilterAsync(_connection, group);
        return (await _connection.JoinAsClientAsync(group, SubscriptionFilter.Both(fromApp, filter))).Joined;
    }

    internal bool IsIn(string group) => _connection.IsIn(group);

    /// <summary>See <see cref="BroadcastOptions.AllowClientFilters"/>.</summary>
    internal bool AllowsFilters => _connection.Settings.AllowsClientFilters;

    internal ValueTask<bool> IsAllowedAsync(string group, GroupOperation operation) =>
        _actions.IsAllowedAsync(_connection, group, operation);

    internal bool HasMaxGroups(string joining) => _actions.HasMaxGroups(_connection, joining);

    internal async ValueTask<RequestResult> SetStateAsync(string group, ReadOnlyMemory<byte> state) =>
        await IsAllowedAsync(group, GroupOperation.SetState)
            ? _actions.SetState(_connection, group, state)
            : RequestResult.SetStateForbidden;

    /// <summary>Checks whether the client can subscribe to the states of a group.</summary>
    internal async ValueTask<RequestResult> CheckSubscriptionAsync(string group)
    {
        if (!await IsAllowedAsync(group, GroupOperation.SubscribeToStates)) return RequestResult.SubscribeForbidden;
        lock (_context)
        {
            if (_hasEnded) return RequestResult.SubscribeForbidden;
            _states ??= _actions.CreateStateSender(_connection, Send);
        }

        return _states.Problem(group) is { } problem ? RequestResult.BadRequest(problem) : RequestResult.Success;
    }

    /// <summary>Subscribes to the states of a group. Call <see cref="CheckSubscriptionAsync"/> first.</summary>
    internal void SubscribeToStates(string group) => _states?.Subscribe(group);

    internal void UnsubscribeFromStates(string group) => _states?.Unsubscribe(group);
}
