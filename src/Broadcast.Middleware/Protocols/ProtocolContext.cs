using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>What an <see cref="IBroadcastProtocol"/> can do for one of its clients. One for each connection, used for one message at a time.</summary>
public sealed class ProtocolContext
{
    readonly Broadcaster _broadcaster;
    readonly Connection _connection;
    readonly FilterDelegate<MessageContext> _onMessage;
    readonly MessageContext _context;
    MessageSender? _sender;

    internal ProtocolContext(Broadcaster broadcaster, Connection connection, FilterDelegate<MessageContext> onMessage)
    {
        _broadcaster = broadcaster;
        _connection = connection;
        _onMessage = onMessage;
        _context = new MessageContext(broadcaster, connection);
    }

    /// <summary>The client's connection.</summary>
    public IBroadcastConnection Connection => _connection;

    /// <summary>Whatever the protocol has to remember of this client.</summary>
    public object? State { get; set; }

    MessageSender Sender => _sender ??= new(_connection.Id, _connection.UserId);

    /// <summary>Publishes a message to a group, through the filters.</summary>
    /// <param name="group">The group's name.</param>
    /// <param name="message">The message.</param>
    /// <param name="excludesSender">Whether the client itself does not get it.</param>
    /// <returns>What became of it; no position if a filter kept it.</returns>
    /// <exception cref="ArgumentException">The name is not a group's name, or the message cannot be published.</exception>
    /// <exception cref="UnauthorizedAccessException">The client may not publish to the group.</exception>
    public async Task<PublishResult> PublishAsync(string group, Message message, bool excludesSender = false)
    {
        GroupName.ThrowIfInvalid(group);
        _broadcaster.ThrowIfInvalid(message);
        if (!await IsAllowedAsync(group, GroupOperation.Publish)) throw new UnauthorizedAccessException("This client may not publish to the group.");
        return await PublishAllowedAsync(group, message, excludesSender);
    }

    /// <summary>The same for what has been allowed and checked.</summary>
    internal async Task<PublishResult> PublishAllowedAsync(string group, Message message, bool excludesSender)
    {
        var recipients = Recipients.Group(group);
        _context.Reset(message with { Sender = Sender });
        _context.Recipients = excludesSender ? recipients.Except(_connection.Itself) : recipients;
        await _onMessage(_context);
        return _context.Result;
    }

    /// <summary>To the client's home group, as it was received.</summary>
    internal Task PublishAsReceivedAsync(Message message)
    {
        _context.Reset(message);
        return _onMessage(_context);
    }

    /// <summary>The client has every message up to this one.</summary>
    internal void Acknowledge(ulong sequenceId) => _connection.Writer.OnAcknowledged((long)Math.Min(sequenceId, long.MaxValue));

    /// <summary>Shows the filters something that is not to be published: <see cref="MessageContext.Event"/>.</summary>
    /// <param name="name">What it is.</param>
    /// <param name="message">What belongs to it.</param>
    /// <returns>Whether a filter has taken it, which it does by not calling the next one.</returns>
    public async Task<bool> RaiseAsync(string name, Message message)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        _context.Reset(message with { Sender = Sender });
        _context.Event = name;
        await _onMessage(_context);
        return !_context.IsUnhandled;
    }

    /// <summary>Makes the client a member of a group.</summary>
    /// <param name="group">The group's name.</param>
    /// <returns>Whether it is one now; false if the registry refuses it.</returns>
    /// <exception cref="ArgumentException">The name is not a group's name.</exception>
    /// <exception cref="UnauthorizedAccessException">The client may not join the group.</exception>
    /// <exception cref="InvalidOperationException">It is in <see cref="BroadcastOptions.MaxGroupsPerConnection"/> groups.</exception>
    public async Task<bool> JoinAsync(string group)
    {
        GroupName.ThrowIfInvalid(group);
        if (!await IsAllowedAsync(group, GroupOperation.Join)) throw new UnauthorizedAccessException("This client may not join the group.");
        return await JoinAllowedAsync(group);
    }

    internal async ValueTask<bool> JoinAllowedAsync(string group) => _connection.IsIn(group) || (await _connection.JoinAsync(group)).Joined;

    internal bool HasMaxGroups => _connection.Groups.Count >= _broadcaster.Options.MaxGroupsPerConnection;

    /// <summary>Ends the client's membership in a group, if there is one.</summary>
    /// <param name="group">The group's name.</param>
    /// <exception cref="ArgumentException">The name is not a group's name.</exception>
    public void Leave(string group)
    {
        GroupName.ThrowIfInvalid(group);
        _connection.Leave(group);
    }

    /// <summary>Sends the client something as it stands, in order with its messages.</summary>
    /// <param name="text">UTF-8; copied.</param>
    public void Send(ReadOnlyMemory<byte> text) =>
        _broadcaster.Publish(new Message(text, MessageType.Text) { IsVerbatim = true }, Recipients.Connection(_connection.Id));

    /// <summary>What is wrong, if a client's state in a group cannot be set.</summary>
    internal (string?, string) SetState(string group, ReadOnlyMemory<byte> state) => GroupStates.Set(_broadcaster, _connection, group, state);

    /// <summary>What is wrong, if the client cannot be told of a group's states.</summary>
    internal async ValueTask<(string?, string)> CheckSubscriptionAsync(string group)
    {
        if (!_connection.IsIn(group) && !await IsAllowedAsync(group, GroupOperation.Join)) return GroupStates.NotSubscribable;
        return _connection.OpenGroupStates(this)?.Check(group) ?? GroupStates.NotSubscribable;
    }

    /// <summary>After <see cref="CheckSubscriptionAsync"/>.</summary>
    internal void SubscribeToStates(string group) => _connection.GroupStates?.Subscribe(group);

    internal void UnsubscribeFromStates(string group) => _connection.GroupStates?.Unsubscribe(group);

    /// <summary>Ends the connection: the client gets what was published before, then a close frame.</summary>
    /// <inheritdoc cref="FilterContext.Close" path="/param"/>
    /// <exception cref="ArgumentException">The code may not be sent, or the reason is too long.</exception>
    public void Close(WebSocketCloseStatus status, string? reason = null)
    {
        CloseStatus.ThrowIfNotSendable(status, reason);
        _connection.Close(EndReason.ClosedByApp, status, reason);
    }

    internal async ValueTask<bool> IsAllowedAsync(string group, GroupOperation operation) => _broadcaster.Authorizer is { } authorizer
        ? await authorizer.AuthorizeAsync(_connection, group, operation)
        : operation == GroupOperation.Publish && group == _connection.HomeGroup;
}
