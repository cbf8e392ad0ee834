using System.Buffers.Text;
using System.Net;
using System.Net.WebSockets;
using System.Security.Claims;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>
/// One client: who it is, its memberships, and the two ways in which it ends. <see cref="Close"/> says goodbye and gives the peer
/// some time to answer; <see cref="Abort"/> cuts the line. Both can be called from anywhere, any number of times.
/// </summary>
sealed class Connection : IBroadcastConnection
{
    public const string TooSlow = "Too slow: more messages wait for this connection than the server keeps.";

    public const string MessagesLost = "Messages may be missing: the cluster has lost them. Connect again.";

    public const string ClusterUnreachable = "The other nodes cannot be reached at the moment: try again.";

    public const string FailedReason = "The server failed to handle this connection.";

    const int NotEnding = -1;

    readonly Broadcaster _broadcaster;
    readonly List<Membership> _memberships = new(2); // Its own lock.
    Authorization? _authorization;
    Exclusions? _itself;
    MessageLog? _lane;
    GroupStates? _groupStates;
    ITimer? _closeTimer;
    WebSocket? _webSocket;
    int _line;
    bool _hasNoLine;
    string? _token;
    bool _hasLeft;
    bool _isBusy = true;
    bool _isAborting;
    bool _hasEnded;
    int _endReason = NotEnding;

    public Connection(Broadcaster broadcaster, Pump pump, HttpContext httpContext, string homeGroup, KnownProtocol? protocol = null)
    {
        _broadcaster = broadcaster;
        HttpContext = httpContext;
        HomeGroup = homeGroup;
        Protocol = protocol ?? KnownProtocol.Raw;
        Id = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(16));
        UserId = broadcaster.UserIdOf(httpContext);
        ConnectedAt = broadcaster.Time.GetUtcNow();
        if (Protocol.IsReliable && broadcaster.Options.RecoveryTimeout > TimeSpan.Zero) Session = new Session(this, broadcaster);
        _authorization = Authorization.Of(this, broadcaster);
        Writer = new ConnectionWriter(this, pump, broadcaster);
    }

    public string Id { get; }
    public string? UserId { get; }
    public string HomeGroup { get; }
    public DateTimeOffset ConnectedAt { get; }
    public HttpContext HttpContext { get; private set; }
    public ClaimsPrincipal User => HttpContext.User;
    public ConnectionWriter Writer { get; }

    /// <summary>Whether it was let into its group when it connected.</summary>
    public bool IsAttached { get; set; }

    /// <summary>
    /// Whether its start or a message of its own is under way, so that nothing is read from it and a silent peer proves nothing.
    /// </summary>
    public bool IsBusy
    {
        get => Volatile.Read(ref _isBusy);
        set => Volatile.Write(ref _isBusy, value);
    }

    /// <summary>Whether it has sent a message.</summary>
    public bool HasSpoken { get; set; }

    /// <summary>Whether a message of its own is under way, which its client may have to be told about.</summary>
    public bool IsAnswering => IsBusy && HasSpoken;

    /// <summary>Why it ends; <see cref="EndReason.Lost"/> if nobody has said.</summary>
    public EndReason EndReason => Volatile.Read(ref _endReason) is var reason and not NotEnding ? (EndReason)reason : EndReason.Lost;

    /// <summary>Whether it takes server-sent events, and no WebSocket frames.</summary>
    public bool IsEventStream { get; init; }

    /// <summary>What it speaks.</summary>
    public KnownProtocol Protocol { get; }

    /// <summary>By which its client can come back; null if it cannot.</summary>
    public Session? Session { get; }

    /// <summary>What its protocol works with, from the client's first message on.</summary>
    public ProtocolContext? ProtocolContext { get; set; }

    /// <summary>What it is counted as; null where addresses are not.</summary>
    public IPAddress? CountedAddress { get; init; }

    /// <summary>Says that a message is for everybody else.</summary>
    public Exclusions Itself => _itself ??= new Exclusions(Id);

    public IReadOnlyCollection<string> Groups
    {
        get
        {
            lock (_memberships) return [.. _memberships.Select(membership => membership.Group.Name).Where(name => name != Middleware.Groups.Everyone)];
        }
    }

    /// <summary>What it is told of the states of groups' members; null if it has not asked.</summary>
    public GroupStates? GroupStates => Volatile.Read(ref _groupStates);

    /// <summary>The same, made when first needed; null if it has left for good.</summary>
    public GroupStates? OpenGroupStates(ProtocolContext context)
    {
        lock (_memberships) return _hasLeft ? null : _groupStates ??= new GroupStates(_broadcaster, this, context);
    }

    /// <summary>On the pump: all it was sent alone has been taken.</summary>
    public void OnLaneRead() => GroupStates?.OnRead();

    /// <summary>True, with the state of a member told to whoever watches; false if it is none.</summary>
    public bool SetState(string group, byte[] state)
    {
        lock (_memberships)
        {
            if (IndexOf(group) < 0) return false;
            _broadcaster.Presence.SetState(this, group, state);
            return true;
        }
    }

    /// <summary>Begins to send. Until now, and from now on, what is meant for the connection gathers in its logs.</summary>
    public void Open(WebSocket? webSocket, Sink sink)
    {
        _webSocket = webSocket;
        Writer.Open(sink);
    }

    /// <summary>How it is sent what is published to a group, or, with null, to it alone; null for WebSocket frames as they stand.</summary>
    public WireFormat? FormatFor(string? group) =>
        Protocol.Format is { } format ? format : !IsEventStream ? null : group == HomeGroup ? EventStreamFormat.OfHomeGroup : EventStreamFormat.OfOthers;

    public bool IsIn(string group)
    {
        lock (_memberships) return IndexOf(group) >= 0;
    }

    /// <summary>Whether there are other nodes.</summary>
    public bool IsOfCluster => _broadcaster.Cluster is not null;

    /// <summary>As <see cref="Join(string, Replay)"/>, when the group is on this node.</summary>
    /// <exception cref="BackplaneException">The cluster cannot be reached.</exception>
    public ValueTask<JoinResult> JoinAsync(string group, Replay replay = default) => JoinCancellableAsync(group, replay, CancellationToken.None);

    /// <summary>The same for one who may give up waiting for the cluster.</summary>
    public ValueTask<JoinResult> JoinCancellableAsync(string group, Replay replay, CancellationToken cancellationToken) =>
        _broadcaster.Cluster is { } cluster ? JoinAsync(cluster, group, replay, cancellationToken) : new(Join(group, replay));

    async ValueTask<JoinResult> JoinAsync(Cluster cluster, string group, Replay replay, CancellationToken cancellationToken)
    {
        while (true)
        {
            if (IsIn(group)) return default;
            var held = await cluster.HoldAsync(group, cancellationToken);
            var result = default(JoinResult?);
            try
            {
                // Null if the cluster has lost it again: then it is held anew.
                if ((result = Join(group, replay, held.Group)) is { } joined) return joined;
            }
            finally
            {
                // Else it is released when the connection leaves.
                if (result is not { Joined: true }) cluster.Release(held);
            }
        }
    }

    /// <summary>Not joined if it is a member already, if the registry refuses, or if it has left for good.</summary>
    public JoinResult Join(string group, Replay replay = default) => Join(group, replay, null)!.Value;

    JoinResult? Join(string group, Replay replay, Group? clustered)
    {
        // The registry is asked within the lock, so that it and the logs agree on what came first, joining or leaving.
        lock (_memberships)
        {
            if (_hasLeft || IndexOf(group) >= 0) return default(JoinResult);
            if (group != Middleware.Groups.Everyone)
            {
                if (CountGroups() >= _broadcaster.Options.MaxGroupsPerConnection)
                {
                    throw new InvalidOperationException(
                        $"The connection is in {CountGroups()} groups and {nameof(BroadcastOptions.MaxGroupsPerConnection)} allows no more: " +
                        "let it leave one, or raise the option.");
                }

                if (!_broadcaster.Connections.TryJoin(this, group)) return default(JoinResult);
            }

            if (_broadcaster.Groups.Join(group, Writer, replay, clustered) is not { } joined)
            {
                if (group != Middleware.Groups.Everyone) _broadcaster.Connections.Leave(this, group);
                return null;
            }

            _memberships.Add(joined.Membership);
            _broadcaster.Presence.OnJoined(this, group);
            return new JoinResult(true, joined.Recovered, joined.Position);
        }
    }

    int CountGroups() => _memberships.Count - (IndexOf(Middleware.Groups.Everyone) < 0 ? 0 : 1);

    /// <summary>False if it is not a member.</summary>
    public bool Leave(string group)
    {
        lock (_memberships)
        {
            if (IndexOf(group) is not (>= 0 and var index)) return false;
            Leave(_memberships[index]);
            _memberships.RemoveAt(index);
            _broadcaster.Connections.Leave(this, group);
            _broadcaster.Presence.OnLeft(this, group);
            return true;
        }
    }

    /// <summary>Leaves every group, and joins none any more. The groups, the first time; then null.</summary>
    public IReadOnlyList<string>? LeaveAll()
    {
        lock (_memberships)
        {
            if (_hasLeft) return null;
            _hasLeft = true;
            foreach (var membership in _memberships) Leave(membership);
            string[] left = [.. _memberships.Select(static membership => membership.Group.Name)];
            _memberships.Clear();
            return left;
        }
    }

    void Leave(Membership membership)
    {
        _broadcaster.Groups.Leave(membership);
        if (membership.Group.Clustered is { } held) _broadcaster.Cluster!.Release(held);
    }

    /// <summary>A message for this connection alone, in order with those of its groups.</summary>
    /// <param name="message">The message.</param>
    /// <param name="facts">What is to be known of it; that others are excluded does not matter here.</param>
    public void Send(Message message, Exclusions? facts)
    {
        var lane = Volatile.Read(ref _lane) ?? OpenLane();
        lock (lane.Gate) lane.Append(message, facts);
        Writer.Pump.Post(Writer);
    }

    MessageLog OpenLane()
    {
        // Not the lock of the memberships: a backplane that hands out a message may hold a lock of its own, and who leaves a group asks for that.
        var lane = new MessageLog(_broadcaster.Clock, _broadcaster.Groups.Default);
        var format = FormatFor(null);
        // Whoever finds it before it is read waits here to append.
        lock (lane.Gate)
        {
            var cursor = new Cursor(lane, Writer, null, format is null ? null : new() { Format = format, Bookmark = BookmarkAt(lane, lane.End) });
            if (Interlocked.CompareExchange(ref _lane, lane, null) is { } other) return other;
            Writer.Arrive(cursor);
            return lane;
        }
    }

    /// <summary>From where it may have to be sent a log's messages again; null if never. The caller holds the log's gate.</summary>
    public Bookmark? BookmarkAt(MessageLog log, (Block Block, int Index) start) => Session is null ? null : new(log, start.Block, start.Index);

    /// <summary>
    /// Sends what was published before, then a close frame (RFC 6455, section 7.1.2). A peer that has not answered it in time is cut off.
    /// </summary>
    /// <returns>True for the first call, which is the one that counts.</returns>
    public bool Close(EndReason why, WebSocketCloseStatus status, string? reason)
    {
        // No lock: pumps call this.
        EndsBecause(why);
        if (!Writer.TryClose(status, reason)) return false;
        _closeTimer = _broadcaster.Time.CreateTimer(
            static connection => ((Connection)connection!).Abort(EndReason.Lost), this, _broadcaster.Options.CloseTimeout, Timeout.InfiniteTimeSpan);
        Session?.GiveUp();
        return true;
    }

    public void CloseSlowConsumer()
    {
        _broadcaster.Log.SlowConsumer(Id, _broadcaster.Options.MaxBacklogBytes);
        Close(EndReason.SlowConsumer, CloseStatus.TryAgainLater, TooSlow);
    }

    public void CloseLost() => Close(EndReason.ClusterLost, CloseStatus.TryAgainLater, MessagesLost);

    public void CloseBadAcknowledgement(long sequence) => Close(
        EndReason.ClosedByApp, WebSocketCloseStatus.PolicyViolation, $"There is no message {sequence} to acknowledge: send the highest sequenceId you have.");

    /// <summary>A filter, or another part of the app, has thrown.</summary>
    public void CloseFailed(Exception exception)
    {
        // One that gave up because its peer is gone has not failed.
        if (exception is OperationCanceledException && HttpContext.RequestAborted.IsCancellationRequested) return;
        if (exception is BackplaneException)
        {
            // The app's own business is in order: the client can try again.
            _broadcaster.Log.ClusterUnreachable(Id, exception.Message);
            Close(EndReason.ClusterUnreachable, CloseStatus.TryAgainLater, ClusterUnreachable);
            return;
        }

        _broadcaster.Log.FilterFailed(Id, exception);
        Close(EndReason.Failed, WebSocketCloseStatus.InternalServerError, FailedReason);
    }

    /// <summary>Ends the transport, which ends the reads and writes that wait for it. The first call counts.</summary>
    public void Abort(EndReason why, Exception? error = null)
    {
        EndsBecause(why);
        if (Volatile.Read(ref _hasEnded) || Interlocked.Exchange(ref _isAborting, true)) return;
        // Elsewhere: it runs what the app has registered for the request's end.
        ThreadPool.UnsafeQueueUserWorkItem(static abort => abort.Connection.AbortNow(abort.Line), (Connection: this, Line: Volatile.Read(ref _line)), preferLocal: false);
        // Last, as loggers are the app's too.
        _broadcaster.Log.CutOff(Id, BroadcastMetrics.Tag(EndReason), error?.Message);
    }

    /// <summary>The first cause counts.</summary>
    public void EndsBecause(EndReason why) => Interlocked.CompareExchange(ref _endReason, (int)why, NotEnding);

    /// <summary>On the pump, now and then.</summary>
    public void OnBeat()
    {
        _authorization?.OnBeat();
        var options = _broadcaster.Options;
        if (!HasSpoken && options.FirstMessageTimeout != Timeout.InfiniteTimeSpan && _broadcaster.Time.GetUtcNow() - ConnectedAt >= options.FirstMessageTimeout)
            Close(EndReason.FirstMessageTimeout, WebSocketCloseStatus.PolicyViolation, "The first message did not come in time.");
    }

    public void OnDropped(long messages)
    {
        _broadcaster.Metrics.Dropped(messages);
        _broadcaster.Log.Dropped(Id, messages);
    }

    public void OnDelivering(long publishedAt) => _broadcaster.Metrics.Delivering(_broadcaster.Time.GetElapsedTime(publishedAt));

    /// <summary>The same at once, for a caller that is no pump.</summary>
    public void AbortNow() => AbortNow(Volatile.Read(ref _line));

    void AbortNow(int line)
    {
        // Not the lock that pumps take, for the same reason.
        lock (Writer)
        {
            if (_hasEnded || _hasNoLine || line != _line) return;
            _webSocket?.Abort();
            HttpContext.Abort();
        }
    }

    /// <summary>Cuts the line off, and lets go of it: its request may end before the connection does, and is not touched any more.</summary>
    public void LeaveLine()
    {
        lock (Writer)
        {
            try
            {
                AbortNow();
            }
            finally
            {
                (_hasNoLine, _webSocket) = (true, null);
            }
        }
    }

    /// <summary>Its client has come back, on another line. Whatever was still to cut off the one before comes too late.</summary>
    /// <returns>False if there is something that it cannot be sent any more.</returns>
    public Task<bool> ResumeAsync(HttpContext httpContext, WebSocket webSocket, Sink sink, string token)
    {
        lock (Writer)
        {
            _line++;
            (HttpContext, _webSocket, _token, _hasNoLine) = (httpContext, webSocket, token, false);
        }

        // The request before may end now.
        Session!.OnTaken();
        _authorization?.Dispose();
        _authorization = Authorization.Of(this, _broadcaster);
        Volatile.Write(ref _endReason, NotEnding);
        Volatile.Write(ref _isAborting, false);
        // Somebody who came after it may have cut off the line before.
        if (Session.IsClaimed) Abort(EndReason.Lost);
        return Writer.ResumeAsync(sink, ProtocolFormat.ToFrame(ReliableJsonProtocol.Reconnected(this, token).Span));
    }

    /// <summary>Its client has acknowledged something that it was sent on its present line, and so has the token that went before.</summary>
    public void OnConfirmed()
    {
        if (_token is { } token) Session!.Confirm(token);
    }

    /// <summary>The request is about to end: its context, which the server uses again, is not touched any more.</summary>
    public void End()
    {
        lock (Writer) _hasEnded = true;
        Session?.End();
        _authorization?.Dispose();
        _closeTimer?.Dispose();
    }

    // By hand: each connection comes here three times when it starts, and what a closure leaves behind stays among what lives on.
    int IndexOf(string group)
    {
        for (var i = 0; i < _memberships.Count; i++)
        {
            if (_memberships[i].Group.Name == group) return i;
        }

        return -1;
    }
}
