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

/// <summary>Represents one client. A connection has an identity, groups, and a lifetime.</summary>
/// <remarks>
/// Two methods end a connection. <see cref="Close"/> sends a close frame and gives the client time to answer.
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
    readonly long _connectedAtTicks; // Ticks need half the memory of a DateTimeOffset.
    AuthenticationMonitor? _authentication;
    ConnectionTransport? _transport; // Null while the client is disconnected and after the connection has ended.
    ExcludedConnections? _self;
    PrivateLog? _privateLog;
    ITimer? _closeTimer;
    ClaimsPrincipal? _user;
    IReadOnlyDictionary<string, object?>? _routeValues;
    Dictionary<object, object?>? _items;
    ConnectionFilters? _filters; // Null without subscription filters. The lock of JoinedGroups guards this field.
    TokenBucketRateLimiter? _rateLimiter; // Null until the first message, or if there is no limit.
    volatile ConnectionState _state; // A thread that changes the state holds the lock of JoinedGroups.
    ReceiveGate _receiveGate;
    int _endReason = NotEnding;

    // The time at which the newest authentication of an extended connection expires, in UTC ticks. Zero if the app has
    // not extended the authentication. The monitor does not store this time if the revalidator has accepted an expired
    // authentication, or if the expiration does not close connections.
    long _extendedUntil;

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
        if (request.Filter is { } filter) _filters = new ConnectionFilters(filter);
        SetRequest(request);
        if (Format.IsReliable && recoveryTimeout > TimeSpan.Zero)
            Session = new ReconnectSession(this, disconnectedSessions, recoveryTimeout, time);
        Writer = createWriter(this);
    }

    public string Id { get; }
    public string? UserId { get; private set; }
    public string HomeGroup { get; }
    public DateTimeOffset ConnectedAt => new(_connectedAtTicks, TimeSpan.Zero);
    public IPAddress? RemoteAddress { get; private set; }

    // The getter creates the anonymous principal at the first read. So a connection needs no principal if the app never
    // reads this property. Another thread may set the user at the same time, and the getter must not replace that user.
    public ClaimsPrincipal User =>
        _user ?? Interlocked.CompareExchange(ref _user, new ClaimsPrincipal(new ClaimsIdentity()), null) ?? _user;
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
        Volatile.Read(ref _transport)?.GetDisconnectedToken(Id, _logger) ?? new CancellationToken(canceled: true);

    /// <summary>The settings of the endpoint that opened the connection.</summary>
    public EndpointSettings Settings { get; }

    public ConnectionWriter Writer { get; }

    /// <summary>The format in which the client receives messages.</summary>
    public ConnectionFormat Format { get; }

    /// <summary>Lets the client reconnect. Null if the protocol or the options do not allow a reconnect.</summary>
    public ReconnectSession? Session { get; }

    /// <summary>
    /// The address that <see cref="ConnectionLimits"/> counts. Null if the limits do not count this client by address.
    /// Only the request that serves the connection changes this property.
    /// </summary>
    public IPAddress? CountedAddress { get; set; }

    /// <summary>The state of the protocol. Null until the client sends its first message.</summary>
    public IProtocolState? ProtocolState { get; set; }

    /// <summary>
    /// The groups of the connection. Only <see cref="Memberships"/> changes this list. Code that reads or changes the
    /// list must lock the list object.
    /// </summary>
    public List<Membership> JoinedGroups { get; } = new(2);

    /// <summary>
    /// True after the connection has joined its home group and the group of all connections. If the value is false, the
    /// server runs no disconnect filters for the connection.
    /// </summary>
    public bool WasOpened { get; private set; }

    public bool HasLeft => _state is ConnectionState.Left or ConnectionState.Ended;

    public bool IsBusy => _receiveGate.IsBusy;

    /// <summary>Decides whether the server may handle a message of the client.</summary>
    public ref ReceiveGate ReceiveGate => ref _receiveGate;

    public bool CanReconnect => Session is not null;

    // Before the connection is open, a heartbeat would start the response of an event stream. A connect filter could
    // then no longer set the HTTP status of the response.
    public ReadOnlyMemory<byte> HeartbeatMessage => WasOpened ? Format.GetHeartbeat(Settings) : default;

    /// <summary>The reason why the connection ended. The default is <see cref="EndReason.Lost"/>.</summary>
    public EndReason EndReason =>
        Volatile.Read(ref _endReason) is var reason and not NotEnding ? (EndReason)reason : EndReason.Lost;

    /// <summary>The exclusion list that contains only this connection.</summary>
    public ExcludedConnections Self => _self ??= new ExcludedConnections(Id);

    /// <summary>
    /// Canceled when the client is gone. Connect filters need this token, because the server does not read from the
    /// client while the filters run.
    /// </summary>
    public CancellationToken ClientGone => _transport?.ClientGone ?? new CancellationToken(canceled: true);

    /// <summary>
    /// Starts to send to the client. The writer first sends the messages that arrived since the connection joined its
    /// groups.
    /// </summary>
    public void Open(Sink sink) => Writer.Open(sink);

    /// <summary>Records that the connection has joined its home group and the group of all connections.</summary>
    public void OnOpened()
    {
        lock (JoinedGroups)
        {
            WasOpened = true;
            if (_state == ConnectionState.Connecting) SetStateLocked(ConnectionState.Open);
        }
    }

    /// <summary>
    /// True if a connect filter has set the user. After a reconnect, the connection keeps this user and the expiration
    /// of the authentication, because a reconnect runs no connect filter.
    /// </summary>
    public bool IsUserSetByFilter { get; private set; }

    /// <summary>
    /// True if the app has extended the authentication. The request of a reconnect may contain an older authentication,
    /// because its URL can still contain the first access token. So the connection keeps the newer authentication.
    /// </summary>
    public bool IsExtended => Volatile.Read(ref _extendedUntil) != 0;

    /// <summary>Sets the user for a connect filter. The connection must not be in a group yet.</summary>
    public void SetUser(ClaimsPrincipal user, string? userId) =>
        (_user, UserId, IsUserSetByFilter) = (user, userId, true);

    /// <summary>Returns true if the user of a request may resume the connection with a valid token.</summary>
    public bool HasUserOf(ConnectionRequest request)
    {
        var isAuthenticated = request.User is { Identity.IsAuthenticated: true };
        // If a filter has set the user or the app has extended the authentication, the request that reconnects can be
        // anonymous. The reconnection token proves the identity.
        if ((IsUserSetByFilter || IsExtended) && request.UserId is null && !isAuthenticated) return true;
        // An anonymous request must not replace an authenticated user that has no ID.
        return request.UserId == UserId && (isAuthenticated || _user is not { Identity.IsAuthenticated: true });
    }

    /// <summary>
    /// Returns true if the connection keeps its user and its expiration after a reconnect with this request.
    /// </summary>
    public bool KeepsUser(ConnectionRequest request)
    {
        if (IsUserSetByFilter) return true;
        if (!IsExtended) return false;
        var isLater = request.User is { Identity.IsAuthenticated: true }
            && Volatile.Read(ref _extendedUntil) < ToTicks(request.AuthenticationExpires);
        return !isLater;
    }

    /// <summary>
    /// Replaces the user and the expiration. Returns false if the authentication has expired or the connection is
    /// closing. The caller holds the membership lock.
    /// </summary>
    /// <param name="extension">The new authentication, with the same user ID as before.</param>
    /// <param name="expires">See <see cref="MonitorAuthentication"/>.</param>
    /// <param name="revalidator">See <see cref="MonitorAuthentication"/>.</param>
    /// <param name="interval">See <see cref="MonitorAuthentication"/>.</param>
    public bool TryExtendLocked(
        AuthenticationExtension extension,
        DateTimeOffset? expires,
        IConnectionRevalidator? revalidator,
        TimeSpan interval)
    {
        Debug.Assert(Monitor.IsEntered(JoinedGroups));
        if (Writer.ClosingStatus is not null || _authentication?.TryExtend(expires) is false) return false;
        if (_authentication is null) MonitorAuthentication(expires, null, revalidator, interval);
        _user = extension.User;
        SetExtendedUntilLocked(extension.Expires);
        return true;
    }

    /// <summary>
    /// Sets the time at which the newest authentication of an extended connection expires. Null if this authentication
    /// never expires.
    /// </summary>
    public void SetExtendedUntilLocked(DateTimeOffset? expires)
    {
        Debug.Assert(Monitor.IsEntered(JoinedGroups));
        Volatile.Write(ref _extendedUntil, ToTicks(expires));
    }

    /// <summary>
    /// Counts a message of the client. Returns false if the client exceeds
    /// <see cref="BroadcastOptions.MaxMessagesPerSecond"/>. The count continues after a reconnect. Only the request
    /// that serves the connection calls this method.
    /// </summary>
    public bool TryCountMessage()
    {
        if (Settings.MaxMessagesPerSecond is not { } rate) return true;
        var limiter = _rateLimiter ??= CreateRateLimiter(rate, Settings.MaxMessageBurst ?? rate);
        limiter.TryReplenish();
        using var lease = limiter.AttemptAcquire();
        return lease.IsAcquired;
    }

    public bool IsIn(string group)
    {
        lock (JoinedGroups) return IndexOf(group) >= 0;
    }

    /// <summary>
    /// Joins a group for the app. The filter stays in effect until the app leaves the group or sets another filter. If
    /// the connection is already a member, the filter applies from the next message on.
    /// </summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public ValueTask<JoinResult> JoinAsync(
        string group,
        Replay replay = default,
        SubscriptionFilter? filter = null,
        CancellationToken cancellationToken = default)
    {
        // The filter in the URL applies to the home group and to the group of all connections.
        var isOfUrl = group == HomeGroup || group == GroupName.Everyone;
        var filters = new MembershipFilters(filter, isOfUrl ? Volatile.Read(ref _filters)?.FromUrl : null);
        return _memberships.JoinAsync(this, group, replay, filters, cancellationToken);
    }

    /// <summary>
    /// Joins a group at the request of the client. The filter of the app stays in effect, even if the client has left
    /// the group in the meantime.
    /// </summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    public ValueTask<JoinResult> JoinAsClientAsync(string group, SubscriptionFilter? filter)
    {
        SubscriptionFilter? fromServer;
        lock (JoinedGroups) fromServer = _filters?.FindServerFilter(group);
        var filters = new MembershipFilters(fromServer, filter, IsByClient: true);
        return _memberships.JoinAsync(this, group, default, filters, CancellationToken.None);
    }

    /// <summary>Leaves a group for the app. Returns false if the connection is not a member.</summary>
    public bool Leave(string group) => _memberships.Leave(this, group, isByClient: false);

    /// <summary>Leaves a group at the request of the client. The filter of the app stays in effect.</summary>
    public bool LeaveAsClient(string group) => _memberships.Leave(this, group, isByClient: true);

    /// <summary>Sets the filter of the app for a group. Null removes the filter.</summary>
    public void SetServerFilterLocked(string group, SubscriptionFilter? filter)
    {
        Debug.Assert(Monitor.IsEntered(JoinedGroups));
        if (filter is null) _filters?.SetServerFilter(group, null);
        else (_filters ??= new(null)).SetServerFilter(group, filter);
    }

    /// <summary>
    /// True if the membership has no filter, or if its filter accepts the message. If the delegate of the filter throws
    /// an exception, the server closes this connection.
    /// </summary>
    public bool Accepts(string group, Message message)
    {
        SubscriptionFilter? filter;
        lock (JoinedGroups) filter = IndexOf(group) is >= 0 and var index ? JoinedGroups[index].Cursor.Filter : null;
        try
        {
            return filter is null || CursorFilter.Accepts(filter, message);
        }
        catch (SubscriptionFilterException exception)
        {
            OnFilterFailed(exception.Cause);
            return false;
        }
    }

    /// <summary>
    /// Leaves all groups and prevents further joins. Returns the groups, or null for each call after the first.
    /// </summary>
    public IReadOnlyList<string>? LeaveAll() => _memberships.LeaveAll(this);

    /// <summary>Sends a message to this connection only, in order with the messages of its groups.</summary>
    public void Send(Message message, EntryMetadata? metadata)
    {
        OpenPrivateLog().Append(message, metadata);
        Writer.Post();
    }

    /// <summary>Sends a text that already has the format of the client: see <see cref="Send"/>.</summary>
    public void SendVerbatim(ReadOnlyMemory<byte> text)
    {
        var message = new Message(text, MessageType.Text) { IsVerbatim = true };
        Send(message, EntryMetadata.Create(message, null));
    }

    /// <summary>
    /// Sends a message like <see cref="Send"/>. If the client is slow, the call first waits until the writer has sent
    /// earlier messages. So a sender that awaits each call never exceeds
    /// <see cref="BroadcastOptions.MaxBacklogBytes"/>.
    /// </summary>
    /// <returns>False if the connection is closing or has ended, or if the client is gone.</returns>
    public ValueTask<bool> SendAsync(Message message, EntryMetadata? metadata, CancellationToken cancellationToken)
    {
        if (IsGone) return new(false);
        var log = OpenPrivateLog();
        // If private messages fill half of the backlog, wait. The other half is for messages of groups.
        if (!log.TryAppend(message, metadata, Settings.MaxBacklogBytes / 2))
            return SendWhenRoomAsync(log, message, metadata, cancellationToken);
        Writer.Post();
        return new(true);
    }

    /// <summary>
    /// Sends all earlier messages, and then a close frame (RFC 6455, section 7.1.2). If the client does not answer in
    /// time, the connection aborts its transport.
    /// </summary>
    /// <returns>True for the first call. Later calls have no effect.</returns>
    public bool Close(EndReason endReason, WebSocketCloseStatus status, string? reason)
    {
        // Pumps call this method, so the method must not wait for a lock.
        SetEndReason(endReason);
        if (!Writer.TryClose(status, reason)) return false;
        Volatile.Read(ref _privateLog)?.WakeSenders();
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
        // A filter that stops because its client is gone has not failed.
        if (exception is OperationCanceledException && ClientGone.IsCancellationRequested) return;
        if (exception is BackplaneException)
        {
            _logger.ClusterUnreachable(Id, exception.Message);
            Close(EndReason.ClusterUnreachable, CloseStatus.TryAgainLater, CloseReasons.ClusterUnreachable);
            return;
        }

        OnFilterFailed(exception);
    }

    /// <summary>
    /// Ends the transport and its pending reads and writes. The connection records only the first end reason.
    /// </summary>
    public void Abort(EndReason reason, Exception? error = null)
    {
        SetEndReason(reason);
        if (Volatile.Read(ref _transport) is not { } transport || !transport.TryBeginAbort()) return;
        Volatile.Read(ref _privateLog)?.WakeSenders();
        // An abort runs callbacks of the app. These callbacks must not run on the thread of the pump.
        ThreadPool.UnsafeQueueUserWorkItem(
            static abort => abort.Connection.AbortTransport(abort.Transport),
            (Connection: this, Transport: transport),
            preferLocal: false);
        _logger.Aborted(Id, BroadcastMetrics.Tag(EndReason), error?.Message);
    }

    /// <summary>Ends the transport at once, on this thread. Pumps must not call this method.</summary>
    public void AbortNow()
    {
        if (Volatile.Read(ref _transport) is { } transport) AbortTransport(transport);
    }

    /// <summary>
    /// Sets the reason why the connection ends. Until a reconnect, only the first call has an effect.
    /// </summary>
    public void SetEndReason(EndReason reason) => Interlocked.CompareExchange(ref _endReason, (int)reason, NotEnding);

    /// <summary>
    /// Monitors the authentication of the newest request. After a reconnect, the existing monitor gets the new
    /// expiration.
    /// </summary>
    /// <param name="expires">
    /// The time at which the authentication expires. Null if the authentication never expires.
    /// </param>
    /// <param name="ticket">The cookie of the connection. Null if the cookie cannot be renewed.</param>
    /// <param name="revalidator">The revalidator of the app. Null if the app has no revalidator.</param>
    /// <param name="interval">See <see cref="BroadcastOptions.RevalidationInterval"/>.</param>
    public void MonitorAuthentication(
        DateTimeOffset? expires, RenewableTicket? ticket, IConnectionRevalidator? revalidator, TimeSpan interval)
    {
        // A reconnect and an extension may run at the same time, and only one of them may create the monitor.
        lock (JoinedGroups)
        {
            if (_authentication is { } monitor) monitor.SetExpiration(expires, ticket);
            else _authentication = AuthenticationMonitor.Create(this, expires, ticket, revalidator, interval, _time);
        }
    }

    /// <summary>Closes the connection with the end reason <see cref="EndReason.AuthenticationExpired"/>.</summary>
    public void ExpireAuthentication() => Close(
        EndReason.AuthenticationExpired, WebSocketCloseStatus.PolicyViolation, CloseReasons.AuthenticationExpired);

    /// <summary>Aborts and releases the transport. The client may reconnect.</summary>
    public void Detach()
    {
        lock (JoinedGroups) SetStateLocked(ConnectionState.Disconnected);
        if (Interlocked.Exchange(ref _transport, null) is not { } transport) return;
        AbortTransport(transport);
        transport.Release();
    }

    /// <summary>Continues on the new transport after the client has reconnected.</summary>
    /// <param name="request">The request of the client.</param>
    /// <param name="sink">The sink of the new transport.</param>
    /// <param name="token">The new reconnection token.</param>
    /// <returns>False if the server no longer has all unacknowledged messages.</returns>
    public Task<bool> ReattachAsync(ConnectionRequest request, Sink sink, string token)
    {
        lock (JoinedGroups)
        {
            SetStateLocked(ConnectionState.Open);
            SetRequest(request);
        }

        if (Writer.ClosingStatus is null) Volatile.Write(ref _endReason, NotEnding);
        // The close timeout may have ended while the connection had no transport to abort. So start the timeout again.
        else _closeTimer?.Change(Settings.CloseTimeout, Timeout.InfiniteTimeSpan);
        // The old request may end now.
        Session!.OnTakenOver(token);
        // Another request may already have claimed the connection. The other request waits until this transport ends.
        if (Session.IsClaimed) Abort(EndReason.Lost);
        return Writer.ResumeAsync(sink, Format.GetOpening(this, token));
    }

    /// <summary>
    /// Ends the connection and releases the transport. Afterwards, the server may reuse the objects of the request.
    /// </summary>
    public void End()
    {
        lock (JoinedGroups) SetStateLocked(ConnectionState.Ended);
        Interlocked.Exchange(ref _transport, null)?.Release();
        Session?.End();
        _authentication?.Dispose();
        _closeTimer?.Dispose();
    }

    /// <summary>Logs an exception of a callback that the app has registered with a cancellation token.</summary>
    public void OnCallbackFailed(Exception exception) => _logger.CallbackFailed(Id, exception);

    public void OnHeartbeat()
    {
        _authentication?.OnHeartbeat();
        // FirstMessageTimeout covers all messages that connect filters receive. So a client cannot stay connected by
        // sending invalid messages.
        var state = _receiveGate.State;
        var isWaiting = state is ReceiveState.Starting or ReceiveState.AwaitingFirstMessage
            || (state == ReceiveState.Reading && !WasOpened);
        if (!isWaiting || !Format.SendsMessages) return;
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

    public void OnPrivateLogRead(long readByte)
    {
        Volatile.Read(ref _privateLog)?.OnRead(readByte);
        ProtocolState?.OnPrivateLogRead();
    }

    public void OnCloseFrameSent() => Volatile.Read(ref _privateLog)?.WakeSenders();

    public void OnTransportConfirmed() => Session?.OnTransportConfirmed();

    public void OnInvalidAcknowledgement(long sequence) => Close(
        EndReason.ClosedByApp, WebSocketCloseStatus.PolicyViolation,
        $"The sequenceId {sequence} was never sent. Acknowledge the highest sequenceId that you received.");

    public void OnRecoveryImpossible() => Session!.GiveUp();

    public void OnFilterFailed(Exception exception)
    {
        _logger.FilterFailed(Id, exception);
        Close(EndReason.Failed, WebSocketCloseStatus.InternalServerError, CloseReasons.Failed);
    }

    public void OnTooSlow()
    {
        _logger.SlowConsumer(Id, Settings.MaxBacklogBytes);
        Close(EndReason.SlowConsumer, CloseStatus.TryAgainLater, CloseReasons.TooSlow);
    }

    public void OnMessagesLost() => Close(EndReason.ClusterLost, CloseStatus.TryAgainLater, CloseReasons.MessagesLost);

    public ReadOnlyMemory<byte> GetClosingMessage(WebSocketCloseStatus status, string? reason) =>
        Format.GetClosing(status, reason);

    public JoinOptions CreateJoinOptions(string? group, Replay replay, MembershipFilters filters = default)
    {
        var isHomeGroup = group == HomeGroup;
        // A connection may leave and rejoin its home group, but the client receives the opening bytes only once.
        var opening = isHomeGroup && !WasOpened ? Format.GetOpening(this, Session?.FirstToken) : default;
        return new(replay, Format.GetEncoder(isHomeGroup), opening, KeepsUnacknowledged: Session is not null)
        {
            Filters = filters,
        };
    }

    /// <summary>Returns the index of a group in <see cref="JoinedGroups"/>, or -1. The caller holds the lock.</summary>
    /// <remarks>
    /// The method uses a loop, because a lambda would allocate a closure. Each new connection calls this method several
    /// times.
    /// </remarks>
    public int IndexOf(string group)
    {
        for (var i = 0; i < JoinedGroups.Count; i++)
        {
            if (JoinedGroups[i].Group.Name == group) return i;
        }

        return -1;
    }

    /// <summary>
    /// Returns the number of groups that count against the maximum when this connection joins a group. A group that the
    /// client has left counts if it has a filter of the app. The group of all connections does not count.
    /// </summary>
    public int CountGroups(string joining)
    {
        lock (JoinedGroups)
        {
            var left = _filters?.CountLeft(JoinedGroups, joining) ?? 0;
            return JoinedGroups.Count + left - (IndexOf(GroupName.Everyone) < 0 ? 0 : 1);
        }
    }

    /// <summary>Stops further joins. Returns true only for the first call.</summary>
    public bool TryLeaveLocked()
    {
        if (HasLeft) return false;
        SetStateLocked(ConnectionState.Left);
        return true;
    }

    /// <summary>True if the client will not receive a message that the server sends now.</summary>
    bool IsGone => HasLeft || Writer.ClosingStatus is not null || (!CanReconnect && IsDisconnected);

    /// <summary>True if the connection has no transport, or if its transport sends no more messages.</summary>
    bool IsDisconnected =>
        Volatile.Read(ref _transport) is not { IsAborting: false } || Writer.IsCloseFrameSent;

    PrivateLog OpenPrivateLog() =>
        Volatile.Read(ref _privateLog) ?? _memberships.OpenPrivateLog(this, ref _privateLog);

    async ValueTask<bool> SendWhenRoomAsync(
        PrivateLog log, Message message, EntryMetadata? metadata, CancellationToken cancellationToken)
    {
        // Copy the payload, because a caller that does not await this method may reuse its buffer.
        message = new Message(message.Payload.ToArray(), message.Type) { Key = message.Key };
        var clientGone = ClientGone;
        // The queue keeps the order of the calls, even if the caller does not await each call.
        var sender = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var earlier = log.EnterQueue(sender);
        try
        {
            await using var registration = clientGone.UnsafeRegister(
                static log => ((PrivateLog)log!).WakeSenders(), log).ConfigureAwait(false);
            await earlier.WaitAsync(cancellationToken).ConfigureAwait(false);
            while (true)
            {
                // Create the task before the checks. Otherwise, the connection could end between the checks and the
                // wait, and the wait would never end.
                var room = log.WaitForRoomAsync();
                // A filter that waits here delays the reconnect of its client. So do not wait for a disconnected
                // client.
                if (IsGone || IsDisconnected || clientGone.IsCancellationRequested) return false;
                var isSent = log.TryAppendFirst(message, metadata, Settings.MaxBacklogBytes / 2);
                Writer.Post();
                if (isSent) return true;
                await room.WaitAsync(cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            _ = log.LeaveQueueAsync(sender, earlier);
        }
    }

    /// <summary>
    /// Aborts a transport and logs the exceptions of callbacks. Some servers run the callbacks of
    /// <c>HttpContext.RequestAborted</c> inside the abort. On a thread of the thread pool, an unhandled
    /// exception would end the process.
    /// </summary>
    void AbortTransport(ConnectionTransport transport)
    {
        try
        {
            transport.Abort();
        }
        catch (Exception exception)
        {
            _logger.CallbackFailed(Id, exception);
        }
    }

    static long ToTicks(DateTimeOffset? expires) => expires?.UtcTicks ?? long.MaxValue;

    void SetRequest(ConnectionRequest request)
    {
        if (!KeepsUser(request)) _user = request.User;
        _routeValues = request.RouteValues;
        RemoteAddress = request.RemoteAddress;
        Volatile.Write(ref _transport, request.Transport);
    }

    /// <summary>
    /// Creates a rate limiter without a timer, because a timer for each connection would be expensive. The connection
    /// replenishes the limiter before each message.
    /// </summary>
    static TokenBucketRateLimiter CreateRateLimiter(int rate, int burst) => new(new()
    {
        TokenLimit = burst,
        TokensPerPeriod = 1,
        ReplenishmentPeriod = TimeSpan.FromSeconds(1.0 / rate),
        AutoReplenishment = false,
        QueueLimit = 0,
    });

    void SetStateLocked(ConnectionState state)
    {
        Debug.Assert(Monitor.IsEntered(JoinedGroups));
        Debug.Assert(CanChange(_state, state), $"The connection cannot change from {_state} to {state}.");
        _state = state;
    }

    static bool CanChange(ConnectionState from, ConnectionState to) => to switch
    {
        ConnectionState.Open => from is ConnectionState.Connecting or ConnectionState.Disconnected,
        ConnectionState.Disconnected => from == ConnectionState.Open,
        ConnectionState.Left => from is not (ConnectionState.Left or ConnectionState.Ended),
        ConnectionState.Ended => from == ConnectionState.Left,
        _ => false,
    };
}
