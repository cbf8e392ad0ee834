using System.Collections.Concurrent;
using System.Net;
using System.Net.WebSockets;
using System.Security.Claims;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// Admits connections, finds them by ID, removes them, and drains them when the app shuts down. Invariant: the manager
/// removes every connection exactly once, regardless of how the connection ends. The removal reverts every count that
/// the admission raised.
/// </summary>
sealed class ConnectionManager : IDisposable
{
    readonly Pump[] _pumps;
    readonly ConnectionLimits _limits;
    readonly ConnectionLimits _recoveryLimits;
    readonly ConnectionLimits _refusalLimits;
    readonly IConnectionRegistry _registry;
    readonly Memberships _memberships;
    readonly IMembershipObserver _membershipObserver;
    readonly IConnectionObserver? _observer;
    readonly DisconnectedSessions _disconnectedSessions;
    readonly IConnectionRevalidator? _revalidator;
    readonly SequenceClock _clock;
    readonly Heartbeat _heartbeat;
    readonly BroadcastOptions _options;
    readonly TimeProvider _time;
    readonly BroadcastLogger _logger;
    readonly BroadcastMetrics _metrics;
    readonly ConcurrentDictionary<string, Connection> _connections = new(StringComparer.Ordinal);
    readonly CancellationTokenRegistration _stopping;
    readonly CancellationTokenRegistration _draining;
    int _openRequests;
    volatile bool _isStopping;

    /// <param name="pumps">The pumps that share the connections.</param>
    /// <param name="registry">Decides whether to admit a connection.</param>
    /// <param name="memberships">Joins connections to groups.</param>
    /// <param name="membershipObserver">Receives the groups that a removed connection has left.</param>
    /// <param name="observer">Observes connections. Null without a cluster.</param>
    /// <param name="revalidator">The revalidator of the app. Null if the app has no revalidator.</param>
    /// <param name="clock">Assigns sequence numbers to messages.</param>
    /// <param name="heartbeat">Calls each writer at a regular interval.</param>
    /// <param name="options">The options of the broadcast.</param>
    /// <param name="time">The time provider.</param>
    /// <param name="logger">The logger.</param>
    /// <param name="metrics">The metrics.</param>
    /// <param name="applicationStopping">Canceled when the app shuts down. The manager then admits no client.</param>
    /// <param name="drainStarting">Canceled when the manager must close all connections.</param>
    public ConnectionManager(
        Pump[] pumps,
        IConnectionRegistry registry,
        Memberships memberships,
        IMembershipObserver membershipObserver,
        IConnectionObserver? observer,
        IConnectionRevalidator? revalidator,
        SequenceClock clock,
        Heartbeat heartbeat,
        BroadcastOptions options,
        TimeProvider time,
        BroadcastLogger logger,
        BroadcastMetrics metrics,
        CancellationToken applicationStopping,
        CancellationToken drainStarting)
    {
        _pumps = pumps;
        _registry = registry;
        _memberships = memberships;
        _membershipObserver = membershipObserver;
        _observer = observer;
        _revalidator = revalidator;
        _clock = clock;
        _heartbeat = heartbeat;
        _options = options;
        _time = time;
        _logger = logger;
        _metrics = metrics;
        _limits = CreateLimits();
        _recoveryLimits = CreateLimits();
        _refusalLimits = CreateLimits();
        _disconnectedSessions = new DisconnectedSessions(options.MaxDisconnectedSessions);
        _stopping = applicationStopping.UnsafeRegister(
            static manager => ((ConnectionManager)manager!).StopAdmitting(), this);
        _draining = drainStarting.UnsafeRegister(
            static manager => BackgroundWork.Start(((ConnectionManager)manager!).BeginDrain), this);

        ConnectionLimits CreateLimits() =>
            new(options.MaxConnections, options.MaxConnectionsPerUser, options.MaxConnectionsPerAddress);
    }

    public bool IsStopping => _isStopping;

    /// <summary>See <see cref="BroadcastOptions.DrainTimeout"/>.</summary>
    public TimeSpan DrainTimeout => _options.DrainTimeout;

    /// <summary>The number of connections, including disconnected connections.</summary>
    public int Count => _connections.Count;

    /// <summary>The number of open HTTP requests that serve a connection.</summary>
    public int OpenRequests => Volatile.Read(ref _openRequests);

    /// <summary>The connections of this node. Each enumeration reads the current connections.</summary>
    public IEnumerable<Connection> All => _connections.Select(static entry => entry.Value);

    /// <summary>Returns the connection with an ID. Null if this node has no such connection.</summary>
    public Connection? Find(string connectionId) => _connections.GetValueOrDefault(connectionId);

    /// <summary>
    /// Creates the connection of a request. If the server must refuse the request, the method returns null and the
    /// reason.
    /// </summary>
    /// <param name="request">The request.</param>
    /// <param name="refusal">
    /// The reason for the refusal. <see cref="RefusalReason.None"/> for an admitted request.
    /// </param>
    /// <param name="pump">The pump of the connection. Null selects the pump with the fewest connections.</param>
    public Connection? Admit(ConnectionRequest request, out RefusalReason refusal, Pump? pump = null)
    {
        refusal = RefusalReason.ShuttingDown;
        if (_isStopping) return null;
        var address = _limits.GetCountedAddress(request.RemoteAddress);
        refusal = _limits.Enter(request.UserId, address);
        if (refusal != RefusalReason.None) return null;
        pump ??= _pumps.MinBy(static pump => pump.Connections)!;
        var connection = new Connection(
            request,
            _memberships,
            _disconnectedSessions,
            connection => CreateWriter(connection, pump),
            _options.RecoveryTimeout,
            _time,
            _logger,
            _metrics)
        {
            CountedAddress = address,
        };
        if (!TryRegister(connection, out refusal))
        {
            _limits.Leave(request.UserId, address);
            return null;
        }

        Watch(connection, request.AuthenticationExpires, request.Ticket);
        _observer?.OnAdded(connection);
        pump.AddConnection();
        _metrics.Connected();
        // If the app began to shut down during this call, the drain may have missed this connection.
        if (_isStopping) Drain.Close(connection);
        return connection;
    }

    /// <summary>
    /// Joins a connection to its home group and to the group of all connections. The registry may refuse the join.
    /// </summary>
    public async ValueTask<JoinResult> OpenAsync(
        Connection connection, Replay replay, SubscriptionFilter? filter = null)
    {
        // The server does not read from the client yet. While the join waits for the cluster, only the token ClientGone
        // shows that the client is gone. Without a cluster, the join never waits, and the token would only cost memory.
        var clientGone = _observer is null ? CancellationToken.None : connection.ClientGone;
        // A connect filter may already have added the connection to its home group.
        var isInHomeGroup = connection.IsIn(connection.HomeGroup);
        if (isInHomeGroup && filter is not null)
        {
            throw new InvalidOperationException(
                "A connect filter has set a subscription filter, but the connection is already in its home group. " +
                "Pass the subscription filter to JoinAsync instead.");
        }

        // The opening tells the client that the connection receives messages. So send the opening after both joins. If
        // a connect filter has added the connection to its home group, the writer may already have sent the opening.
        connection.Writer.HoldOpening();
        var joined = isInHomeGroup
            ? new JoinResult(true, null, null)
            : await connection.JoinAsync(connection.HomeGroup, replay, filter, clientGone);
        // Without a join, the server closes the connection. The close request also ends the hold.
        if (!joined.Joined) return joined;
        await connection.JoinAsync(GroupName.Everyone, default, filter, clientGone);
        connection.OnOpened();
        connection.Writer.ReleaseOpening();
        return joined;
    }

    /// <summary>
    /// Counts the request of a client that reconnects. Returns the limit that the request would exceed, or
    /// <see cref="RefusalReason.None"/>. The normal limits already count the connection of the client. So the manager
    /// counts the requests of reconnecting clients separately, with the same maximum values.
    /// </summary>
    public RefusalReason BeginRecovery(ConnectionRequest request) =>
        _recoveryLimits.Enter(request.UserId, _limits.GetCountedAddress(request.RemoteAddress));

    /// <summary>
    /// Reverts <see cref="BeginRecovery"/>. Call this method when the request has taken over its connection, or before
    /// the server refuses the request.
    /// </summary>
    public void EndRecovery(ConnectionRequest request) =>
        _recoveryLimits.Leave(request.UserId, _limits.GetCountedAddress(request.RemoteAddress));

    /// <summary>
    /// Counts a request that the server refuses because the client cannot reconnect. Call <see cref="EndRefusal"/>
    /// after the close handshake. Returns the limit that the request would exceed, or <see cref="RefusalReason.None"/>.
    /// The manager counts refused requests separately, so that these requests do not use up the limits for clients that
    /// can reconnect.
    /// </summary>
    public RefusalReason BeginRefusal(string? userId, IPAddress? address) =>
        _refusalLimits.Enter(userId, _limits.GetCountedAddress(address));

    /// <summary>Reverts <see cref="BeginRefusal"/>.</summary>
    public void EndRefusal(string? userId, IPAddress? address) =>
        _refusalLimits.Leave(userId, _limits.GetCountedAddress(address));

    /// <summary>Applies the authentication and the address of the request with which a client reconnected.</summary>
    public void OnReattached(Connection connection, ConnectionRequest request)
    {
        // An extension may run at the same time, and the connection must keep the later expiration.
        lock (connection.JoinedGroups)
        {
            if (!connection.KeepsUser(request))
            {
                Watch(connection, request.AuthenticationExpires, request.Ticket);
                if (connection.IsExtended) connection.SetExtendedUntilLocked(request.AuthenticationExpires);
            }
        }

        var address = _limits.GetCountedAddress(request.RemoteAddress);
        _limits.Move(connection.CountedAddress, address);
        connection.CountedAddress = address;
    }

    /// <summary>
    /// Sets the user of a connection that is not in a group yet. If a limit or the registry refuses the user, the
    /// method closes the connection and returns false. The method also returns false if the connection has ended.
    /// </summary>
    /// <remarks>
    /// Invariant: this method holds the membership lock during the change. So a call of <see cref="Remove"/> before the
    /// change prevents the change, and any later call of <see cref="Remove"/> uses the new user.
    /// </remarks>
    /// <param name="connection">The connection.</param>
    /// <param name="user">The user.</param>
    /// <param name="userId">The ID of the user. Null if the user has no ID.</param>
    /// <param name="expires">
    /// The time at which the authentication expires. Null if the authentication never expires.
    /// </param>
    /// <exception cref="InvalidOperationException">The connection is already in a group.</exception>
    public bool TrySetUser(Connection connection, ClaimsPrincipal user, string? userId, DateTimeOffset? expires)
    {
        string? refusal = null;
        lock (connection.JoinedGroups)
        {
            if (connection.HasLeft) return false;
            if (connection.WasOpened || connection.JoinedGroups.Count > 0)
            {
                throw new InvalidOperationException(
                    "The connection is already in a group, so its user cannot change. Set the user before you call " +
                    "next.");
            }

            if (userId == connection.UserId || TryChangeUserIdLocked(connection, user, userId, out refusal))
            {
                connection.SetUser(user, userId);
                Watch(connection, expires, null);
                return true;
            }
        }

        connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.PolicyViolation, refusal);
        return false;
    }

    /// <summary>
    /// Replaces the authentication of a connection. Returns false if the connection has another user, another home
    /// group, or an expired authentication. The method also returns false if the connection is closing or has ended.
    /// </summary>
    public bool TryExtendAuthentication(Connection connection, AuthenticationExtension extension)
    {
        if (extension.HomeGroup is { } group && group != connection.HomeGroup) return false;
        lock (connection.JoinedGroups)
        {
            if (connection.HasLeft || connection.UserId != extension.UserId) return false;
            var expires = _options.CloseOnAuthenticationExpiration ? extension.Expires : null;
            return connection.TryExtendLocked(extension, expires, _revalidator, _options.RevalidationInterval);
        }
    }

    /// <summary>Removes a connection and all of its memberships. Further calls have no effect.</summary>
    public void Remove(Connection connection)
    {
        if (connection.LeaveAll() is not { } groups) return;
        _connections.TryRemove(connection.Id, out _);
        _observer?.OnRemoved(connection);
        connection.ProtocolState?.OnEnded();
        connection.Writer.Pump.RemoveConnection();
        _metrics.Ended(connection.EndReason);
        // Update the limits before the registry call. A client may connect as soon as the registry no longer lists this
        // connection.
        _limits.Leave(connection.UserId, connection.CountedAddress);
        Unregister(connection);
        // Call the observer last. Otherwise, a presence watcher that starts during this method could list the
        // connection and receive no notice of its removal.
        foreach (var group in groups) _membershipObserver.OnLeft(connection, group);
    }

    public void Dispose()
    {
        _stopping.Dispose();
        _draining.Dispose();
    }

    ConnectionWriter CreateWriter(Connection connection, Pump pump)
    {
        var acknowledgements = connection.Format.IsReliable ? CreateAcknowledgements(connection) : null;
        var reader = new LogReader(_clock, acknowledgements, connection.Settings.SlowConsumer);
        return new ConnectionWriter(connection, pump, reader, _heartbeat, connection.Settings);
    }

    Acknowledgements CreateAcknowledgements(Connection connection) => new(
        connection.CanReconnect ? _options.MaxUnacknowledgedBytes : 0,
        _options.MaxUnacknowledgedMessages,
        // The maximum number of logs to track. A connection reads the logs of its groups, the log of all connections,
        // and its private log. The factor 2 adds room for the same number of logs that the connection no longer reads.
        2 * (_options.MaxGroupsPerConnection + 2));

    void Watch(Connection connection, DateTimeOffset? authenticationExpires, RenewableTicket? ticket)
    {
        var expires = _options.CloseOnAuthenticationExpiration ? authenticationExpires : null;
        connection.MonitorAuthentication(expires, ticket, _revalidator, _options.RevalidationInterval);
    }

    bool TryChangeUserIdLocked(Connection connection, ClaimsPrincipal user, string? userId, out string? refusal)
    {
        refusal = CloseReasons.MaxConnectionsPerUser;
        if (!_limits.TryChangeUser(connection.UserId, userId)) return false;

        // The registry and the other nodes list connections by user ID, so remove the connection and add it again.
        Unregister(connection);
        _observer?.OnRemoved(connection);
        connection.SetUser(user, userId);
        refusal = CloseReasons.Rejected;
        if (!TryRegister(connection, out _)) return false;
        _observer?.OnAdded(connection);
        return true;
    }

    void Unregister(Connection connection)
    {
        try
        {
            _registry.Remove(connection);
        }
        catch (Exception exception)
        {
            _logger.RegistryRemoveFailed(connection.Id, exception);
        }
    }

    bool TryRegister(Connection connection, out RefusalReason refusal)
    {
        // Add the connection to the dictionary before the registry call. The app may publish to the connection as soon
        // as the registry contains the connection.
        _connections[connection.Id] = connection;
        refusal = RefusalReason.Registry;
        try
        {
            if (_registry.TryAdd(connection))
            {
                refusal = RefusalReason.None;
                return true;
            }
        }
        catch (Exception exception)
        {
            refusal = RefusalReason.Failed;
            _logger.RegistryAddFailed(connection.Id, exception);
            // A registry that wraps another registry may throw after the inner registry has added the connection.
            Unregister(connection);
        }

        _connections.TryRemove(connection.Id, out _);
        return false;
    }

    public void OnRequestStarted() => Interlocked.Increment(ref _openRequests);

    public void OnRequestEnded() => Interlocked.Decrement(ref _openRequests);

    /// <summary>Aborts all connections, for example when the shutdown takes too long.</summary>
    public void AbortAll()
    {
        foreach (var connection in All) connection.Abort(EndReason.ShuttingDown);
    }

    /// <summary>Closes all connections, because the cluster may have lost messages to any of them.</summary>
    public void OnMessagesLost()
    {
        foreach (var connection in All) connection.OnMessagesLost();
    }

    void StopAdmitting()
    {
        _isStopping = true;
        _disconnectedSessions.Close();
    }

    void BeginDrain()
    {
        StopAdmitting();
        Connection[] connections = [.. All];
        if (connections.Length == 0) return;
        _ = Drain.RunAsync(connections, _options.DrainTimeout, _time);
        _logger.Draining(connections.Length, _options.DrainTimeout);
    }
}
