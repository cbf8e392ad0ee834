using System.Buffers.Text;
using System.Diagnostics;
using System.Net;
using System.Net.WebSockets;
using System.Security.Claims;
using System.Security.Cryptography;
using System.Threading.RateLimiting;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Connections;

/// <summary>One client: its identity, its groups, and its lifetime.</summary>
/// <remarks>
/// A connection ends in two ways. <see cref="Close"/> sends a close frame and gives the client some time to answer.
/// <see cref="Abort"/> ends the transport at once. Any thread may call both methods, any number of times.
/// </remarks>
sealed class Connection : IBroadcastConnection, IWriterOwner
{
    const int NotEnding = -1;

    static readonly IReadOnlyDictionary<string, object?> NoRouteValues = new Dictionary<string, object?>().AsReadOnly();

    readonly Memberships _memberships;
    readonly TimeProvider _time;
    readonly BroadcastLogger _logger;
    readonly BroadcastMetrics _metrics;
    readonly long _connectedAtTicks; // Half the size of a DateTimeOffset.
    AuthenticationMonitor? _authentication;
    ConnectionTransport? _transport; // Null while the client is disconnected and after the end.
    ExcludedConnections? _self;
    MessageLog? _privateLog;
    ITimer? _closeTimer;
    ClaimsPrincipal? _user;
    IReadOnlyDictionary<string, object?>? _routeValues;
    Dictionary<object, object?>? _items;
    volatile ConnectionState _state; // The lock of JoinedGroups guards changes.
    volatile ReceiveState _receiveState; // The serving request changes it.
    int _endReason = NotEnding;

    public Connection(
        ConnectionRequest request,
        Memberships memberships,
        DisconnectedSessions disconnectedSessions,
        Func<Connection, ConnectionWriter> createWriter,
        TimeSpan recoveryTimeout,
        TimeProvider time,
        BroadcastLogger logger,
        BroadcastMetrics metrics)
    {
        _memberships = memberships;
        Settings = request.Settings;
        _time = time;
        _logger = logger;
        _metrics = metrics;
        Id = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(16));
        HomeGroup = request.HomeGroup;
        UserId = request.UserId;
        Format = request.Format;
        _connectedAtTicks = time.GetUtcNow().UtcTicks;
        RateLimiter = CreateRateLimiter(Settings);
        SetRequest(request);
        if (Format.IsReliable && recoveryTimeout > TimeSpan.Zero)
            Session = new ReconnectSession(this, disconnectedSessions, recoveryTimeout, time);
        Writer = createWriter(this);
    }

    public string Id { get; }
    public string? UserId { get; }
    public string HomeGroup { get; }
    public DateTimeOffset ConnectedAt => new(_connectedAtTicks, TimeSpan.Zero);
    public IPAddress? RemoteAddress { get; private set; }

    // An anonymous principal is created when first used, because an idle connection does not need one.
    public ClaimsPrincipal User => _user ??= new ClaimsPrincipal(new ClaimsIdentity());
    public IReadOnlyDictionary<string, object?> RouteValues => _routeValues ?? NoRouteValues;
    public IDictionary<object, object?> Items => _items ??= [];

    public IReadOnlyCollection<string> Groups
    {
        get
        {
            lock (JoinedGroups)
            {
                var names = JoinedGroups.Select(static membership => membership.Group.Name);
                return [.. names.Where(static name => name != GroupName.Everyone)];
            }
        }
    }

    public CancellationToken ConnectionAborted =>
        Volatile.Read(ref _transport)?.Disconnected ?? new CancellationToken(canceled: true);

    /// <summary>The settings of the endpoint at which the connection was opened.</summary>
    public EndpointSettings Settings { get; }

    public ConnectionWriter Writer { get; }

    /// <summary>The format in which the client receives messages.</summary>
    public ConnectionFormat Format { get; }

    /// <summary>Lets the client reconnect. Null if the protocol or the options do not allow a reconnect.</summary>
    public ReconnectSession? Session { get; }

    /// <summary>Limits the message rate of the client. Null if there is no limit.</summary>
    public TokenBucketRateLimiter? RateLimiter { get; }

    /// <summary>The address that the connection limits count. Null if they count no addresses.</summary>
    public IPAddress? CountedAddress { get; init; }

    /// <summary>The state of the protocol. Created when the client sends its first message.</summary>
    public IProtocolState? ProtocolState { get; set; }

    /// <summary>
    /// The groups of the connection. <see cref="Memberships"/> changes the list. The list object is also its lock.
    /// </summary>
    public List<Membership> JoinedGroups { get; } = new(2);

    /// <summary>
    /// True after the connection has joined its home group. Only then, disconnect filters run at its end.
    /// </summary>
    public bool WasOpened { get; private set; }

    public bool HasLeft => _state is ConnectionState.Left or ConnectionState.Ended;

    public bool IsBusy => _receiveState is ReceiveState.Starting or ReceiveState.Handling;

    /// <summary>True while the server handles a message of the client. The client may wait for the answer.</summary>
    public bool IsHandling => _receiveState == ReceiveState.Handling;

    public bool CanReconnect => Session is not null;

    /// <summary>The reason of the end. <see cref="EndReason.Lost"/> if there is no other reason.</summary>
    public EndReason EndReason =>
        Volatile.Read(ref _endReason) is var reason and not NotEnding ? (EndReason)reason : EndReason.Lost;

    /// <summary>Excludes this connection from a message.</summary>
    public ExcludedConnections Self => _self ??= new ExcludedConnections(Id);

    /// <summary>
    /// Canceled when the client is gone. Connect filters need this token, because the server does not read from the
    /// client yet.
    /// </summary>
    public CancellationToken ClientGone => _transport?.ClientGone ?? new CancellationToken(canceled: true);

    /// <summary>
    /// Starts to send. Messages that were published since the connection joined its groups are sent first.
    /// </summary>
    public void Open(Sink sink) => Writer.Open(sink);

    /// <summary>Records that the connection has joined its home group.</summary>
    public void OnOpened()
    {
        lock (JoinedGroups)
        {
            WasOpened = true;
            if (_state == ConnectionState.Connecting) SetStateLocked(ConnectionState.Open);
        }
    }

    /// <summary>Records that the server starts to read from the client.</summary>
    public void OnReceiving()
    {
        if (_receiveState == ReceiveState.Starting) SetReceiveState(ReceiveState.AwaitingFirstMessage);
    }

    /// <summary>Records that the client sends no messages, because it has an event stream.</summary>
    public void OnReceivesNothing() => SetReceiveState(ReceiveState.Reading);

    public void OnMessageStarted() => SetReceiveState(ReceiveState.Handling);

    public void OnMessageHandled() => SetReceiveState(ReceiveState.Reading);

    public bool IsIn(string group)
    {
        lock (JoinedGroups) return IndexOf(group) >= 0;
    }

    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public ValueTask<JoinResult> JoinAsync(
        string group, Replay replay = default, CancellationToken cancellationToken = default) =>
        _memberships.JoinAsync(this, group, replay, cancellationToken);

    /// <summary>Returns false if the connection is not a member.</summary>
    public bool Leave(string group) => _memberships.Leave(this, group);

    /// <summary>
    /// Leaves all groups and joins no more. Returns the groups, or null for each call after the first.
    /// </summary>
    public IReadOnlyList<string>? LeaveAll() => _memberships.LeaveAll(this);

    /// <summary>Sends a message to this connection only, in order with the messages of its groups.</summary>
    public void Send(Message message, EntryMetadata? metadata)
    {
        var log = Volatile.Read(ref _privateLog) ?? _memberships.OpenPrivateLog(this, ref _privateLog);
        lock (log.Gate) log.AppendLocked(message, metadata);
        Writer.Post();
    }

    /// <summary>
    /// Sends every message that was published before, then a close frame (RFC 6455, section 7.1.2). Aborts the
    /// connection if the client does not answer in time.
    /// </summary>
    /// <returns>True for the first call. Later calls have no effect.</returns>
    public bool Close(EndReason endReason, WebSocketCloseStatus status, string? reason)
    {
        // Pumps call this method, so it must not wait for a lock.
        SetEndReason(endReason);
        if (!Writer.TryClose(status, reason)) return false;
        _closeTimer = BackgroundWork.CreateTimer(
            _time,
            static connection => ((Connection)connection!).Abort(EndReason.Lost),
            this,
            Settings.CloseTimeout,
            Timeout.InfiniteTimeSpan);
        Session?.GiveUp();
        return true;
    }

    /// <summary>Closes the connection after a filter or another part of the app threw an exception.</summary>
    public void CloseFailed(Exception exception)
    {
        // The filter gave up because its client is gone, which is not a failure.
        if (exception is OperationCanceledException && ClientGone.IsCancellationRequested) return;
        if (exception is BackplaneException)
        {
            _logger.ClusterUnreachable(Id, exception.Message);
            Close(EndReason.ClusterUnreachable, CloseStatus.TryAgainLater, CloseReasons.ClusterUnreachable);
            return;
        }

        _logger.FilterFailed(Id, exception);
        Close(EndReason.Failed, WebSocketCloseStatus.InternalServerError, CloseReasons.Failed);
    }

    /// <summary>Ends the transport and its pending reads and writes. The first reason counts.</summary>
    public void Abort(EndReason reason, Exception? error = null)
    {
        SetEndReason(reason);
        if (Volatile.Read(ref _transport) is not { } transport || !transport.TryBeginAbort()) return;
        // An abort runs callbacks of the app, which must not run on the pump.
        RunCallbacks(transport.Abort);
        _logger.Aborted(Id, BroadcastMetrics.Tag(EndReason), error?.Message);
    }

    /// <summary>Ends the transport at once, on this thread. Pumps must not call this method.</summary>
    public void AbortNow() => Volatile.Read(ref _transport)?.Abort();

    /// <summary>Sets the reason of the end. The first reason counts.</summary>
    public void SetEndReason(EndReason reason) => Interlocked.CompareExchange(ref _endReason, (int)reason, NotEnding);

    /// <summary>The time of the next call of the revalidator. Null if there is none.</summary>
    public DateTimeOffset? NextRevalidation => Volatile.Read(ref _authentication)?.NextRevalidation;

    /// <summary>Replaces the monitor of the authentication. Null if nothing can expire.</summary>
    public void SetAuthentication(AuthenticationMonitor? authentication)
    {
        // Disposing cancels a token of the revalidator, which runs callbacks of the app.
        if (Interlocked.Exchange(ref _authentication, authentication) is { } previous) RunCallbacks(previous.Dispose);
    }

    /// <summary>Aborts the transport and ends its use. The client may reconnect.</summary>
    public void Detach()
    {
        lock (JoinedGroups) SetStateLocked(ConnectionState.Disconnected);
        if (Interlocked.Exchange(ref _transport, null) is not { } transport) return;
        try
        {
            transport.Abort();
        }
        finally
        {
            Release(transport);
        }
    }

    /// <summary>Continues on the transport of a client that has reconnected.</summary>
    /// <param name="request">The request of the client.</param>
    /// <param name="sink">The sink of the new transport.</param>
    /// <param name="token">The new reconnection token.</param>
    /// <returns>False if unacknowledged messages are gone.</returns>
    public Task<bool> ReattachAsync(ConnectionRequest request, Sink sink, string token)
    {
        lock (JoinedGroups) SetStateLocked(ConnectionState.Open);
        SetRequest(request);
        Volatile.Write(ref _endReason, NotEnding);
        // The close timeout may have ended while there was no transport to abort. So start the timeout again.
        if (Writer.ClosingStatus is not null) _closeTimer?.Change(Settings.CloseTimeout, Timeout.InfiniteTimeSpan);
        // The old request may end now.
        Session!.OnTakenOver(token);
        // A further request may have claimed the connection meanwhile. That request waits until this transport ends.
        if (Session.IsClaimed) Abort(EndReason.Lost);
        return Writer.ResumeAsync(sink, Format.GetOpening(this, token));
    }

    /// <summary>Ends the use of the transport. The server reuses the objects of the request afterwards.</summary>
    public void End()
    {
        lock (JoinedGroups) SetStateLocked(ConnectionState.Ended);
        if (Interlocked.Exchange(ref _transport, null) is { } transport) Release(transport);
        Session?.End();
        SetAuthentication(null);
        _closeTimer?.Dispose();
    }

    public void OnHeartbeat()
    {
        _authentication?.OnHeartbeat();
        if (_receiveState is ReceiveState.Handling or ReceiveState.Reading) return;
        var timeout = Settings.FirstMessageTimeout;
        if (timeout == Timeout.InfiniteTimeSpan || _time.GetUtcNow() - ConnectedAt < timeout) return;
        Close(EndReason.FirstMessageTimeout, WebSocketCloseStatus.PolicyViolation, CloseReasons.FirstMessageTimeout);
    }

    public void OnDelivering(long publishedAt) => _metrics.Delivering(_time.GetElapsedTime(publishedAt));

    public void OnDropped(long messages)
    {
        _metrics.Dropped(messages);
        _logger.Dropped(Id, messages);
    }

    public void OnPrivateLogRead() => ProtocolState?.OnPrivateLogRead();

    public void OnTransportConfirmed() => Session?.OnTransportConfirmed();

    public void OnInvalidAcknowledgement(long sequence) => Close(
        EndReason.ClosedByApp, WebSocketCloseStatus.PolicyViolation,
        $"The sequenceId {sequence} was never sent. Acknowledge the highest sequenceId that you received.");

    public void OnRecoveryImpossible() => Session!.GiveUp();

    public void OnTooSlow()
    {
        _logger.SlowConsumer(Id, Settings.MaxBacklogBytes);
        Close(EndReason.SlowConsumer, CloseStatus.TryAgainLater, CloseReasons.TooSlow);
    }

    public void OnMessagesLost() => Close(EndReason.ClusterLost, CloseStatus.TryAgainLater, CloseReasons.MessagesLost);

    public ReadOnlyMemory<byte> GetClosingMessage(WebSocketCloseStatus status, string? reason) =>
        Format.GetClosing(status, reason);

    public JoinOptions CreateJoinOptions(string? group, Replay replay)
    {
        var isHomeGroup = group == HomeGroup;
        // A connection may leave its home group and join it again. The client gets the opening only once.
        var opening = isHomeGroup && !WasOpened ? Format.GetOpening(this, Session?.FirstToken) : default;
        return new(replay, Format.GetEncoder(isHomeGroup), opening, KeepsUnacknowledged: Session is not null);
    }

    /// <summary>Returns the index of a group in <see cref="JoinedGroups"/>, or -1. The caller holds the lock.</summary>
    /// <remarks>
    /// The loop avoids a closure. Each connection calls this method three times at its start, and the closures would
    /// stay in memory.
    /// </remarks>
    public int IndexOf(string group)
    {
        for (var i = 0; i < JoinedGroups.Count; i++)
        {
            if (JoinedGroups[i].Group.Name == group) return i;
        }

        return -1;
    }

    /// <summary>Returns the number of groups without the group of all connections.</summary>
    public int CountGroupsLocked() => JoinedGroups.Count - (IndexOf(GroupName.Everyone) < 0 ? 0 : 1);

    /// <summary>Stops further joins. Returns true only for the first call.</summary>
    public bool TryLeaveLocked()
    {
        if (HasLeft) return false;
        SetStateLocked(ConnectionState.Left);
        return true;
    }

    void Release(ConnectionTransport transport)
    {
        if (transport.Release() is { } disconnected) RunCallbacks(disconnected.Cancel);
    }

    /// <summary>Runs callbacks of the app on the thread pool and logs their exceptions.</summary>
    void RunCallbacks(Action callbacks) => _ = BackgroundWork.Run(() =>
    {
        try
        {
            callbacks();
        }
        catch (Exception exception)
        {
            _logger.CallbackFailed(Id, exception);
        }
    });

    void SetRequest(ConnectionRequest request)
    {
        _user = request.User;
        _routeValues = request.RouteValues;
        RemoteAddress = request.RemoteAddress;
        Volatile.Write(ref _transport, request.Transport);
    }

    /// <summary>
    /// Creates a limiter without a timer. A timer for each connection would cost more than the connection, so the
    /// limiter replenishes on request.
    /// </summary>
    static TokenBucketRateLimiter? CreateRateLimiter(EndpointSettings settings) =>
        settings.MaxMessagesPerSecond is not { } rate ? null : new(new()
        {
            TokenLimit = settings.MaxMessageBurst ?? rate,
            TokensPerPeriod = 1,
            ReplenishmentPeriod = TimeSpan.FromSeconds(1.0 / rate),
            AutoReplenishment = false,
            QueueLimit = 0,
        });

    void SetReceiveState(ReceiveState state)
    {
        Debug.Assert(
            CanChange(_receiveState, state), $"The receive state cannot change from {_receiveState} to {state}.");
        _receiveState = state;
    }

    void SetStateLocked(ConnectionState state)
    {
        Debug.Assert(Monitor.IsEntered(JoinedGroups));
        Debug.Assert(CanChange(_state, state), $"The connection cannot change from {_state} to {state}.");
        _state = state;
    }

    static bool CanChange(ReceiveState from, ReceiveState to) => to switch
    {
        ReceiveState.AwaitingFirstMessage => from == ReceiveState.Starting,
        ReceiveState.Handling => from is ReceiveState.AwaitingFirstMessage or ReceiveState.Reading,
        ReceiveState.Reading => from is ReceiveState.Starting or ReceiveState.Handling,
        _ => false,
    };

    static bool CanChange(ConnectionState from, ConnectionState to) => to switch
    {
        ConnectionState.Open => from is ConnectionState.Connecting or ConnectionState.Disconnected,
        ConnectionState.Disconnected => from == ConnectionState.Open,
        ConnectionState.Left => from is not (ConnectionState.Left or ConnectionState.Ended),
        ConnectionState.Ended => from == ConnectionState.Left,
        _ => false,
    };
}
