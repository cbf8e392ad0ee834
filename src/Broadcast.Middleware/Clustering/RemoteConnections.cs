using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Text;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Clustering;

/// <summary>
/// Sends messages and requests to the connections of other nodes, and announces the connections of this node to the
/// cluster. Each node has an inbox: a group of the cluster to which no other node subscribes. Internal groups of the
/// cluster list the node of each connection and the connections of each user. The internal group of a user also
/// contains the IDs of messages to this user, and the connections that receive these messages.
/// </summary>
/// <param name="backplane">The backplane.</param>
/// <param name="time">The time provider.</param>
/// <param name="logger">The logger.</param>
sealed class RemoteConnections(IBackplane backplane, TimeProvider time, BroadcastLogger logger) : IConnectionObserver
{
    static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(5);
    static readonly TimeSpan RetryDelay = TimeSpan.FromSeconds(1);

    readonly ConcurrentDictionary<long, TaskCompletionSource<NodeAnswer>> _requests = [];
    readonly HashSet<Connection> _unannounced = [];
    readonly Lock _gate = new();
    long _lastRequestId;

    // The inbox is open if its subscription started after the last loss of messages.
    int _losses;
    int _lossesWhenOpened = -1;
    volatile bool _hasEnded;

    /// <summary>The ID of this node.</summary>
    public string Node { get; } = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(12));

    /// <summary>The name of the group to which other nodes send messages for this node.</summary>
    public string Inbox => InboxOf(Node);

    /// <summary>True after the broadcast has ended.</summary>
    public bool HasEnded => _hasEnded;

    bool IsOpen => Volatile.Read(ref _lossesWhenOpened) == Volatile.Read(ref _losses);

    /// <summary>Subscribes to the inbox as soon as the cluster is reachable. Only one call may run at a time.</summary>
    public async Task OpenInboxAsync()
    {
        while (!_hasEnded && !IsOpen)
        {
            try
            {
                // After a failure or a loss, an old subscription may still exist.
                backplane.Unsubscribe(Inbox);
                var losses = Volatile.Read(ref _losses);
                await backplane.SubscribeAsync(Inbox, null).ConfigureAwait(false);
                OnInboxOpened(losses);
            }
            catch (Exception exception)
            {
                logger.InboxUnreachable(exception.Message);
                await Task.Delay(RetryDelay, time).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Stops further attempts to subscribe, because the broadcast has ended.</summary>
    public void End() => _hasEnded = true;

    /// <summary>
    /// Records that messages to the inbox may be missing. Invariant: this method takes no lock, because the caller may
    /// hold the lock of the backplane. Another thread may hold the lock of this class and wait for the lock of the
    /// backplane. A lock in this method could then cause a deadlock.
    /// </summary>
    public void OnInboxLost() => Interlocked.Increment(ref _losses);

    /// <summary>Announces a connection to the cluster as soon as the inbox is open.</summary>
    public void OnAdded(Connection connection)
    {
        lock (_gate)
        {
            if (IsOpen) AnnounceLocked(connection);
            else _unannounced.Add(connection);
        }
    }

    public void OnRemoved(Connection connection)
    {
        lock (_gate) _unannounced.Remove(connection);
        try
        {
            backplane.RemoveMember(ConnectionGroup(connection.Id), Node);
            if (connection.UserId is { } user) backplane.RemoveMember(UserGroup(user), connection.Id);
        }
        catch (Exception exception)
        {
            logger.BackplaneFailed(exception);
        }
    }

    /// <summary>Sends a message to a connection, or to the connections of a user, on other nodes.</summary>
    /// <param name="recipients">The connection or the user.</param>
    /// <param name="message">The message, encoded as a <see cref="ClusterMessage"/>.</param>
    /// <param name="isTransient">See <see cref="Message.IsTransient"/>.</param>
    /// <param name="cancellationToken">Cancels the call. Other nodes may still receive the message.</param>
    /// <returns>The number of nodes to which this node sent the message.</returns>
    /// <exception cref="BackplaneException">
    /// The cluster is unreachable. <see cref="BackplaneException.DeliverLocally"/> is true only if no other node
    /// received the message.
    /// </exception>
    public async Task<int> SendAsync(
        Recipients recipients, ReadOnlyMemory<byte> message, bool isTransient, CancellationToken cancellationToken)
    {
        var name = recipients.Name!;
        var isUser = recipients.Kind == RecipientsKind.User;
        var group = isUser ? UserGroup(name) : ConnectionGroup(name);
        var members = await backplane.GetMembersAsync(group, cancellationToken);
        var nodes = members.Select(member => isUser ? Encoding.UTF8.GetString(member.Value.Span) : member.Name);
        NodeMessage request = isUser ? new SendToUser(Node, name, message) : new SendToConnection(Node, name, message);
        string[] others = [.. nodes.Where(node => node != Node).Distinct()];
        return await SendAsync(others, _ => request, cancellationToken, isTransient);
    }

    /// <summary>
    /// Returns the connections that receive a message with an ID to a user. The first publish with this ID stores the
    /// connections of the user in the cluster. Returns null if a publish with this ID is complete: see
    /// <see cref="CompleteAsync"/>.
    /// </summary>
    /// <param name="userId">The user.</param>
    /// <param name="id">The ID of the message.</param>
    /// <param name="window">See <see cref="BroadcastOptions.MessageIdWindow"/>.</param>
    /// <param name="localConnections">The IDs of the user's connections on this node.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public async ValueTask<ReservedConnections?> ReserveAsync(
        string userId,
        string id,
        TimeSpan window,
        IEnumerable<string> localConnections,
        CancellationToken cancellationToken)
    {
        var group = UserGroup(userId);
        var members = await backplane.GetMembersAsync(group, cancellationToken);
        var connections = members
            .Select(static member => (Node: Encoding.UTF8.GetString(member.Value.Span), Connection: member.Name))
            .Where(member => member.Node != Node)
            .Concat(localConnections.Select(connection => (Node, connection)));
        var value = ReservedConnections.Encode(connections);
        try
        {
            return await backplane.ReserveAsync(group, id, window, value, cancellationToken) is { } reserved
                ? ReservedConnections.Decode(reserved)
                : null;
        }
        catch (InvalidDataException exception)
        {
            throw new BackplaneException(exception.Message, exception);
        }
    }

    /// <summary>Sends a message with an ID to the reserved connections of a user on other nodes.</summary>
    /// <param name="userId">The user.</param>
    /// <param name="connections">The reserved connections.</param>
    /// <param name="message">The message, encoded as a <see cref="ClusterMessage"/>.</param>
    /// <param name="cancellationToken">Cancels the call. Other nodes may still receive the message.</param>
    /// <returns>The number of nodes to which this node sent the message.</returns>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public Task<int> SendAsync(
        string userId,
        ReservedConnections connections,
        ReadOnlyMemory<byte> message,
        CancellationToken cancellationToken) => SendAsync(
        [.. connections.Nodes.Keys.Where(node => node != Node)],
        node => new SendToUserConnections(Node, userId, connections.On(node), message),
        cancellationToken);

    /// <summary>
    /// Stores in the cluster that all nodes have a message with this ID. The caller must first send the message to all
    /// nodes. Otherwise, a repeated publish would not reach the remaining nodes after a failure.
    /// </summary>
    public async ValueTask CompleteAsync(
        string userId, string id, TimeSpan window, CancellationToken cancellationToken)
    {
        // No node subscribes to this group, so no node receives the empty message.
        await backplane.PublishOnceAsync(
            UserGroup(userId), id, window, default, null, cancellationToken: cancellationToken);
    }

    public async ValueTask<bool> CloseAsync(
        string connectionId, WebSocketCloseStatus status, string? reason, CancellationToken cancellationToken)
    {
        var request = new CloseConnection(NextRequestId(), Node, connectionId, status, reason);
        return await RequestAsync(request, cancellationToken) is { Succeeded: true };
    }

    public async ValueTask<bool> ExtendAuthenticationAsync(
        AuthenticationExtension extension, CancellationToken cancellationToken)
    {
        var request = new ExtendAuthentication(NextRequestId(), Node, extension.ConnectionId, extension);
        return await RequestAsync(request, cancellationToken) is { Succeeded: true };
    }

    public async ValueTask<bool> EndAuthenticationAsync(string connectionId, CancellationToken cancellationToken)
    {
        var request = new EndAuthentication(NextRequestId(), Node, connectionId);
        return await RequestAsync(request, cancellationToken) is { Succeeded: true };
    }

    public async ValueTask<JoinResult> JoinAsync(
        string connectionId,
        string group,
        Replay replay,
        SubscriptionFilter? filter,
        CancellationToken cancellationToken)
    {
        var request = new JoinGroup(NextRequestId(), Node, connectionId, group, replay, filter);
        return await RequestAsync(request, cancellationToken) is { } answer
            ? new(answer.Succeeded, answer.Recovered, answer.Position)
            : default;
    }

    public async ValueTask<bool> LeaveAsync(string connectionId, string group, CancellationToken cancellationToken)
    {
        var request = new LeaveGroup(NextRequestId(), Node, connectionId, group);
        return await RequestAsync(request, cancellationToken) is { Succeeded: true };
    }

    /// <summary>Returns true if the user has a connection on another node.</summary>
    public async ValueTask<bool> HasUserAsync(string userId, CancellationToken cancellationToken)
    {
        var members = await backplane.GetMembersAsync(UserGroup(userId), cancellationToken);
        return members.Any(member => Encoding.UTF8.GetString(member.Value.Span) != Node);
    }

    public async ValueTask<bool> SetStateAsync(
        string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken)
    {
        var request = new SetGroupState(NextRequestId(), Node, connectionId, group, state);
        return await RequestAsync(request, cancellationToken) is { Succeeded: true };
    }

    /// <summary>Receives the answer to a request of this node.</summary>
    public void OnAnswer(NodeAnswer answer)
    {
        if (_requests.TryRemove(answer.Id, out var request)) request.TrySetResult(answer);
    }

    /// <summary>Sends an answer to another node.</summary>
    public async Task AnswerAsync(string node, NodeAnswer answer)
    {
        try
        {
            await SendAsync(node, answer, CancellationToken.None);
        }
        catch (Exception exception)
        {
            logger.AnswerLost(exception.Message);
        }
    }

    // These group names start with a control character, so an app cannot use them.
    static string InboxOf(string node) => "\u0001node:" + node;

    static string ConnectionGroup(string id) => "\u0001connection:" + id;

    static string UserGroup(string id) => "\u0001user:" + id;

    void OnInboxOpened(int losses)
    {
        lock (_gate)
        {
            Volatile.Write(ref _lossesWhenOpened, losses);
            // The cluster may have lost messages again after the subscription began. In this case, the inbox is not
            // open.
            if (!IsOpen) return;
            foreach (var connection in _unannounced) AnnounceLocked(connection);
            _unannounced.Clear();
        }
    }

    void AnnounceLocked(Connection connection)
    {
        try
        {
            backplane.SetMember(ConnectionGroup(connection.Id), Node, default);
            if (connection.UserId is { } user)
                backplane.SetMember(UserGroup(user), connection.Id, Encoding.UTF8.GetBytes(Node));
        }
        catch (Exception exception)
        {
            // SetMember must not throw. If SetMember throws, the connection still works on this node.
            logger.BackplaneFailed(exception);
        }
    }

    /// <summary>
    /// Sends a request to the node of a connection, and waits for the answer. Returns null if no other node has the
    /// connection.
    /// </summary>
    async ValueTask<NodeAnswer?> RequestAsync(NodeMessage request, CancellationToken cancellationToken)
    {
        var members = await backplane.GetMembersAsync(ConnectionGroup(request.Target), cancellationToken);
        if (members.FirstOrDefault(member => member.Name != Node).Name is not { } node) return null;
        var completion = new TaskCompletionSource<NodeAnswer>(TaskCreationOptions.RunContinuationsAsynchronously);
        _requests.TryAdd(request.Id, completion);
        try
        {
            await SendAsync(node, request, cancellationToken);
            var answer = await completion.Task.WaitAsync(AnswerTimeout, time, cancellationToken);
            if (answer.Problem is null) return answer;
            throw answer.IsUnreachable
                ? new BackplaneException(answer.Problem)
                : new InvalidOperationException(answer.Problem);
        }
        catch (TimeoutException)
        {
            throw new BackplaneException(
                "The node of the connection does not answer. The node may be down. Try again later.");
        }
        finally
        {
            _requests.TryRemove(request.Id, out _);
        }
    }

    /// <summary>Sends a message to each node, and returns the number of nodes.</summary>
    async Task<int> SendAsync(
        string[] nodes,
        Func<string, NodeMessage> createMessage,
        CancellationToken cancellationToken,
        bool isTransient = false)
    {
        var sends = Array.ConvertAll(
            nodes, async node => await SendAsync(node, createMessage(node), cancellationToken, isTransient));
        try
        {
            await Task.WhenAll(sends);
            return nodes.Length;
        }
        catch (BackplaneException exception) when (exception.DeliverLocally && !Array.TrueForAll(sends, IsForThisNode))
        {
            // The new exception does not ask for a local delivery. Otherwise, the result would say that only this node
            // received the message.
            throw new BackplaneException(
                "Only some nodes with recipients received the message, because the cluster became unreachable. Try " +
                "again later, if the recipients can handle a repeated message.",
                exception);
        }

        static bool IsForThisNode(Task send) =>
            send.Exception?.InnerException is BackplaneException { DeliverLocally: true };
    }

    async ValueTask SendAsync(
        string node, NodeMessage message, CancellationToken cancellationToken, bool isTransient = false)
    {
        var (inbox, bytes) = (InboxOf(node), NodeCodec.Encode(message));
        if (isTransient) await backplane.PublishTransientAsync(inbox, bytes, cancellationToken);
        else await backplane.PublishAsync(inbox, bytes, null, cancellationToken: cancellationToken);
    }

    long NextRequestId() => Interlocked.Increment(ref _lastRequestId);
}
