using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Text;

namespace Broadcast.Middleware;

/// <summary>
/// What is to be done about connections of other nodes, and what others want done about ours. Each node has an inbox, a group of the cluster that
/// nobody else reads; who has which connection and which user, the cluster's directory says.
/// </summary>
sealed class Neighbours(IBackplane backplane, Broadcaster broadcaster)
{
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    readonly ConcurrentDictionary<long, TaskCompletionSource<NodeRequest>> _asked = [];
    readonly string _node = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(12));
    readonly HashSet<Connection> _unannounced = [];
    readonly Lock _gate = new();
    long _lastId;
    int _losses;
    int _lossesWhenOpened = -1;
    volatile bool _hasEnded;

    public string Node => _node;

    /// <summary>The group through which others reach this node.</summary>
    public string Inbox => InboxOf(_node);

    /// <summary>Opens the inbox, as soon as the cluster can be reached. One call at a time.</summary>
    public async Task BeginAsync()
    {
        while (!_hasEnded && !IsOpen)
        {
            try
            {
                // Of one that has failed, or is lost, nobody knows whether it stands.
                backplane.Unsubscribe(Inbox);
                var losses = Volatile.Read(ref _losses);
                await backplane.SubscribeAsync(Inbox, null).ConfigureAwait(false);
                Open(losses);
            }
            catch (Exception exception)
            {
                broadcaster.Log.InboxUnreachable(exception.Message);
                await Task.Delay(TimeSpan.FromSeconds(1), broadcaster.Time).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Nobody is here any more: what could not be opened is not tried again.</summary>
    public void End() => _hasEnded = true;

    public bool HasEnded => _hasEnded;

    /// <summary>What comes to the inbox may be missed. The backplane may call this within a lock of its own, that those who are announced wait for.</summary>
    public void OnLost() => Interlocked.Increment(ref _losses);

    /// <summary>Others can find the connection from now on, or as soon as what they send it comes here.</summary>
    public void Add(Connection connection)
    {
        lock (_gate)
        {
            if (IsOpen) Announce(connection);
            else _unannounced.Add(connection);
        }
    }

    bool IsOpen => Volatile.Read(ref _lossesWhenOpened) == Volatile.Read(ref _losses);

    void Open(int losses)
    {
        lock (_gate)
        {
            Volatile.Write(ref _lossesWhenOpened, losses);
            // It may be lost again already.
            if (!IsOpen) return;
            foreach (var connection in _unannounced) Announce(connection);
            _unannounced.Clear();
        }
    }

    /// <summary>The caller holds the gate.</summary>
    void Announce(Connection connection)
    {
        try
        {
            backplane.SetMember(OfConnection(connection.Id), _node, default);
            if (connection.UserId is { } user) backplane.SetMember(OfUser(user), connection.Id, Encoding.UTF8.GetBytes(_node));
        }
        catch (Exception exception)
        {
            // It may not, and whoever comes and goes is not to stay counted for it.
            broadcaster.Log.BackplaneFailed(exception);
        }
    }

    public void Remove(Connection connection)
    {
        lock (_gate) _unannounced.Remove(connection);
        try
        {
            backplane.RemoveMember(OfConnection(connection.Id), _node);
            if (connection.UserId is { } user) backplane.RemoveMember(OfUser(user), connection.Id);
        }
        catch (Exception exception)
        {
            broadcaster.Log.BackplaneFailed(exception);
        }
    }

    /// <summary>A message for a connection, or for a user's connections, as far as other nodes have them.</summary>
    public async Task SendAsync(Recipients recipients, ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
    {
        var isUser = recipients.Kind == RecipientsKind.User;
        var name = recipients.Name!;
        var members = await backplane.GetMembersAsync(isUser ? OfUser(name) : OfConnection(name), cancellationToken);
        var nodes = members.Select(member => isUser ? Encoding.UTF8.GetString(member.Value.Span) : member.Name).Where(node => node != _node).Distinct();
        var request = new NodeRequest(isUser ? NodeRequestKind.SendToUser : NodeRequestKind.SendToConnection, 0, _node, name) { Body = message };
        await Task.WhenAll(nodes.Select(async node => await SendAsync(node, request, cancellationToken)));
    }

    public async ValueTask<bool> CloseAsync(string connectionId, WebSocketCloseStatus status, string? reason, CancellationToken cancellationToken) =>
        (await AskAsync(new(NodeRequestKind.Close, NextId(), _node, connectionId) { Status = status, Reason = reason }, cancellationToken)).Joined;

    public ValueTask<JoinResult> JoinAsync(string connectionId, string group, Replay replay, CancellationToken cancellationToken) =>
        AskAsync(new(NodeRequestKind.Join, NextId(), _node, connectionId) { Group = group, Replay = replay }, cancellationToken);

    public async ValueTask<bool> LeaveAsync(string connectionId, string group, CancellationToken cancellationToken) =>
        (await AskAsync(new(NodeRequestKind.Leave, NextId(), _node, connectionId) { Group = group }, cancellationToken)).Joined;

    public async ValueTask<bool> SetStateAsync(string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken) =>
        (await AskAsync(new(NodeRequestKind.SetState, NextId(), _node, connectionId) { Group = group, Body = state }, cancellationToken)).Joined;

    /// <summary>Something that has come to the inbox.</summary>
    public void OnMessage(ReadOnlyMemory<byte> message)
    {
        var request = NodeRequest.Decode(message.ToArray());
        switch (request.Kind)
        {
            case NodeRequestKind.Answer:
                if (_asked.TryRemove(request.Id, out var asked)) asked.TrySetResult(request);
                break;
            case NodeRequestKind.SendToUser or NodeRequestKind.SendToConnection:
                var received = ClusterMessage.Decode(request.Body);
                var recipients = request.Kind == NodeRequestKind.SendToUser ? Recipients.User(request.Target) : Recipients.Connection(request.Target);
                broadcaster.PublishHere(received.Message, received.Excluded.Count == 0 ? recipients : recipients.Except(received.Excluded));
                break;
            default:
                // Not here: a join may have to wait for the cluster, which waits for this.
                _ = Task.Run(() => AnswerAsync(request));
                break;
        }
    }

    async Task AnswerAsync(NodeRequest request)
    {
        var (result, problem, isUnreachable) = (default(JoinResult), default(string), false);
        try
        {
            result = await DoAsync(request);
        }
        catch (Exception exception)
        {
            (problem, isUnreachable) = (exception.Message, exception is BackplaneException);
        }

        try
        {
            await SendAsync(request.From, new(NodeRequestKind.Answer, request.Id, _node, request.Target) { Result = result, Problem = problem, IsUnreachable = isUnreachable }, default);
        }
        catch (Exception exception)
        {
            broadcaster.Log.AnswerLost(exception.Message);
        }
    }

    async ValueTask<JoinResult> DoAsync(NodeRequest request)
    {
        if (broadcaster.Find(request.Target, default) is not { } connection) return default;
        switch (request.Kind)
        {
            case NodeRequestKind.Close:
                connection.Close(EndReason.ClosedByApp, request.Status, request.Reason);
                return new(true, null, null);
            case NodeRequestKind.Join:
                return await connection.JoinAsync(request.Group!, request.Replay);
            case NodeRequestKind.Leave:
                return new(connection.Leave(request.Group!), null, null);
            case NodeRequestKind.SetState:
                return new(connection.SetState(request.Group!, request.Body.ToArray()), null, null);
            default:
                throw new InvalidOperationException("The node that has the connection knows nothing of this: run one version.");
        }
    }

    async ValueTask<JoinResult> AskAsync(NodeRequest request, CancellationToken cancellationToken)
    {
        var members = await backplane.GetMembersAsync(OfConnection(request.Target), cancellationToken);
        if (members.FirstOrDefault(member => member.Name != _node).Name is not { } node) return default;
        var asked = new TaskCompletionSource<NodeRequest>(TaskCreationOptions.RunContinuationsAsynchronously);
        _asked.TryAdd(request.Id, asked);
        try
        {
            await SendAsync(node, request, cancellationToken);
            var answer = await asked.Task.WaitAsync(Patience, broadcaster.Time, cancellationToken);
            if (answer.Problem is null) return answer.Result;
            throw answer.IsUnreachable ? new BackplaneException(answer.Problem) : new InvalidOperationException(answer.Problem);
        }
        catch (TimeoutException)
        {
            throw new BackplaneException("The node that has the connection does not answer: it may have died. Try again in a while.");
        }
        finally
        {
            _asked.TryRemove(request.Id, out _);
        }
    }

    ValueTask<Position> SendAsync(string node, NodeRequest request, CancellationToken cancellationToken) =>
        backplane.PublishAsync(InboxOf(node), request.Encode(), null, cancellationToken);

    long NextId() => Interlocked.Increment(ref _lastId);

    // No names that users can give.
    static string InboxOf(string node) => "\u0001node:" + node;

    static string OfConnection(string id) => "\u0001connection:" + id;

    static string OfUser(string id) => "\u0001user:" + id;
}
