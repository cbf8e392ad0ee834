using System.Diagnostics.Metrics;
using System.Net.WebSockets;
using System.Security.Claims;
using System.Text.Json;
using System.Text.Unicode;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features.Authentication;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware;

/// <summary>One broadcast: its groups, its pumps and its connections.</summary>
sealed class Broadcaster : IBroadcaster, IDisposable
{
    readonly Pump[] _pumps = Pump.CreatePerProcessor();
    readonly CancellationTokenRegistration _stopping;
    readonly ConnectionLimits _limits;
    volatile bool _isStopping;

    public Broadcaster(
        string name,
        BroadcastOptions options,
        IConnectionRegistry connections,
        IConnectionRevalidator? revalidator,
        IUserIdProvider? userIds,
        IGroupAuthorizer? authorizer,
        IEnumerable<IBroadcastProtocol> protocols,
        IBackplane? backplane,
        TimeProvider time,
        IMeterFactory meters,
        ILogger logger,
        IHostApplicationLifetime? lifetime)
    {
        Options = options;
        Connections = connections;
        Revalidator = revalidator;
        UserIds = userIds;
        Authorizer = authorizer;
        Protocols = [.. protocols.Select(static protocol => new KnownProtocol(protocol))];
        Metrics = new BroadcastMetrics(meters, name, _pumps);
        Clock = new SequenceClock(() => Metrics.MeasuresLatency ? time.GetTimestamp() : 0);
        _limits = new ConnectionLimits(options);
        Waiting = new WaitingRoom(options.MaxLostConnections);
        Time = time;
        Log = new BroadcastLog(logger);
        Groups = new Groups(Clock, new GroupRules(options), options.MaxGroupsWithoutMembers, time);
        Presence = new Presence(this);
        Heartbeat = new Heartbeat(Groups, options, time);
        if (backplane is not null) Cluster = new Cluster(backplane, this);
        _stopping = lifetime?.ApplicationStopping.Register(BeginDrain) ?? default;
        Cluster?.Begin();
    }

    public BroadcastOptions Options { get; }

    public IConnectionRegistry Connections { get; }
    public TimeProvider Time { get; }
    public BroadcastLog Log { get; }
    public Heartbeat Heartbeat { get; }
    public WaitingRoom Waiting { get; }
    public Groups Groups { get; }
    public Presence Presence { get; }
    public SequenceClock Clock { get; }
    public BroadcastMetrics Metrics { get; }
    public IConnectionRevalidator? Revalidator { get; }
    public IUserIdProvider? UserIds { get; }
    public IGroupAuthorizer? Authorizer { get; }
    public KnownProtocol[] Protocols { get; }

    /// <summary>The other nodes; null if there are none.</summary>
    public Cluster? Cluster { get; }

    /// <summary>Who sends a request; null if anonymous.</summary>
    public string? UserIdOf(HttpContext httpContext) => UserIds is not null
        ? UserIds.GetUserId(httpContext)
        // Not HttpContext.User, which would make an anonymous one to keep for as long as the connection lasts.
        : httpContext.Features.Get<IHttpAuthenticationFeature>()?.User?.FindFirst(ClaimTypes.NameIdentifier)?.Value;

    public ValueTask<PublishResult> PublishAsync(Message message, Recipients recipients, CancellationToken cancellationToken)
    {
        ThrowIfInvalid(message);
        cancellationToken.ThrowIfCancellationRequested();
        return PublishCheckedAsync(message, recipients, cancellationToken);
    }

    /// <summary>Completes at once where there are no other nodes.</summary>
    public ValueTask<PublishResult> PublishCheckedAsync(Message message, Recipients recipients, CancellationToken cancellationToken = default)
    {
        if (Cluster is null) return new(Publish(message, recipients));
        Metrics.Published();
        return recipients.Kind switch
        {
            RecipientsKind.All => Cluster.PublishAsync(Groups.Everyone, message, recipients.Exclusions, cancellationToken),
            RecipientsKind.Group => Cluster.PublishAsync(recipients.Name!, message, recipients.Exclusions, cancellationToken),
            RecipientsKind.Groups => Cluster.PublishAsync(recipients.Names, message, recipients.Exclusions, cancellationToken),
            _ => Cluster.SendAsync(message, recipients, cancellationToken),
        };
    }

    /// <summary>Not for what a client has sent and the framework has checked.</summary>
    public void ThrowIfInvalid(Message message)
    {
        if (message.Type is not (MessageType.Text or MessageType.Binary))
            throw new ArgumentException("The message has no type: make it with Message.FromText, or name the type.", nameof(message));
        if (message.Payload.Length > Options.MaxBacklogBytes)
        {
            throw new ArgumentException(
                $"The message has {message.Payload.Length} bytes and {nameof(BroadcastOptions.MaxBacklogBytes)} is {Options.MaxBacklogBytes}: " +
                "raise it, or send the message in parts.", nameof(message));
        }

        // Receivers must close the connection on text that is not UTF-8 (RFC 6455, section 8.1).
        if (message.Type == MessageType.Text && !Utf8.IsValid(message.Payload.Span))
            throw new ArgumentException("The text is not valid UTF-8: encode it so, or send it as binary.", nameof(message));
        if (message.IsJson && !IsJson(message))
            throw new ArgumentException("The message says that it is JSON, and is not: mend it, or leave out IsJson.", nameof(message));
    }

    public PublishResult Publish(Message message, Recipients recipients)
    {
        Metrics.Published();
        var exclusions = Exclusions.Of(message, recipients.Exclusions);
        switch (recipients.Kind)
        {
            case RecipientsKind.All:
                return PublishToGroup(Groups.Everyone, message, exclusions);
            case RecipientsKind.Group:
                return PublishToGroup(recipients.Name!, message, exclusions);
            case RecipientsKind.Groups:
                return Groups.Publish(recipients.Names, message, exclusions);
            default:
                return PublishHere(message, recipients);
        }
    }

    /// <summary>To a connection, or to a user's connections, of this node.</summary>
    public PublishResult PublishHere(Message message, Recipients recipients)
    {
        var connections = recipients.Kind == RecipientsKind.User ? Connections.OfUser(recipients.Name!)
            : Connections.Find(recipients.Name!) is { } found ? [found] : [];
        return SendToEach(connections, message, Exclusions.Of(message, recipients.Exclusions));
    }

    /// <summary>The members of a group on this node, without those that are excluded.</summary>
    public int CountMembers(string group, Exclusions? exclusions) => Math.Max(0, (Groups.Find(group)?.Count ?? 0) - CountExcluded(group, exclusions));

    public async ValueTask<bool> JoinAsync(string connectionId, string group, CancellationToken cancellationToken) =>
        (await JoinAsync(connectionId, group, default, cancellationToken)).Joined;

    public ValueTask<JoinResult> JoinAsync(string connectionId, string group, Replay replay, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        if (Find(connectionId, cancellationToken) is { } connection) return connection.JoinCancellableAsync(group, replay, cancellationToken);
        return Cluster?.Neighbours.JoinAsync(connectionId, group, replay, cancellationToken) ?? default;
    }

    public ValueTask<bool> LeaveAsync(string connectionId, string group, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        if (Find(connectionId, cancellationToken) is { } connection) return new(connection.Leave(group));
        return Cluster?.Neighbours.LeaveAsync(connectionId, group, cancellationToken) ?? default;
    }

    public ValueTask<bool> CloseAsync(string connectionId, WebSocketCloseStatus status, string? reason, CancellationToken cancellationToken)
    {
        CloseStatus.ThrowIfNotSendable(status, reason);
        if (Find(connectionId, cancellationToken) is not { } connection) return Cluster?.Neighbours.CloseAsync(connectionId, status, reason, cancellationToken) ?? default;
        connection.Close(EndReason.ClosedByApp, status, reason);
        return new(true);
    }

    /// <summary>A connection that is let in; null, with the reason, if it is not.</summary>
    public Connection? Admit(HttpContext httpContext, string homeGroup, out RefusalReason refusal, bool isEventStream = false, KnownProtocol? protocol = null)
    {
        refusal = RefusalReason.ShuttingDown;
        if (_isStopping) return null;
        var address = _limits.AddressOf(httpContext);
        var pump = _pumps.MinBy(static pump => pump.Connections)!;
        var connection = new Connection(this, pump, httpContext, homeGroup, protocol) { CountedAddress = address, IsEventStream = isEventStream };
        refusal = _limits.Enter(connection.UserId, address);
        if (refusal != RefusalReason.None) return null;
        refusal = RefusalReason.Registry;
        var isAdded = false;
        try
        {
            isAdded = Connections.TryAdd(connection);
        }
        catch (Exception exception)
        {
            refusal = RefusalReason.Failed;
            Log.AddFailed(connection.Id, exception);
        }
        finally
        {
            if (!isAdded) _limits.Leave(connection.UserId, address);
        }

        if (!isAdded) return null;
        refusal = RefusalReason.None;
        Cluster?.Neighbours.Add(connection);
        pump.AddConnection();
        Metrics.Connected();
        // The app may have begun to stop in between, and then nobody else would tell it.
        if (_isStopping) Drain.SayGoodbye(connection);
        return connection;
    }

    public bool IsStopping => _isStopping;

    /// <summary>From now on it hears everyone and its home group, if the registry lets it join that.</summary>
    public static async ValueTask<JoinResult> AttachAsync(Connection connection, Replay replay = default)
    {
        // Nothing is read from it yet: that it has gone, while it waits for the cluster, shows by its request alone.
        var gone = connection.IsOfCluster ? connection.HttpContext.RequestAborted : default;
        // A filter may have let it into its group before.
        var joined = connection.IsIn(connection.HomeGroup) ? new JoinResult(true, null, null) : await connection.JoinCancellableAsync(connection.HomeGroup, replay, gone);
        if (joined.Joined) await connection.JoinCancellableAsync(Groups.Everyone, default, gone);
        connection.IsAttached = joined.Joined;
        return joined;
    }

    /// <summary>Undoes <see cref="Admit"/>, and all joins since, once.</summary>
    public void Remove(Connection connection)
    {
        if (connection.LeaveAll() is not { } left) return;
        Cluster?.Neighbours.Remove(connection);
        connection.GroupStates?.End();
        connection.Writer.Pump.RemoveConnection();
        Metrics.Ended(connection.EndReason);
        try
        {
            Connections.Remove(connection);
        }
        finally
        {
            _limits.Leave(connection.UserId, connection.CountedAddress);
            // When the registry does not list it any more: a watch that begins before is told that it leaves.
            foreach (var group in left) Presence.OnLeft(connection, group);
        }
    }

    public void Dispose()
    {
        _stopping.Dispose();
        Heartbeat.Dispose();
        Cluster?.Neighbours.End();
    }

    static bool IsJson(Message message)
    {
        var reader = new Utf8JsonReader(message.Payload.Span);
        try
        {
            while (reader.Read()) { }
            return message.Type == MessageType.Text;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    PublishResult PublishToGroup(string name, Message message, Exclusions? exclusions) =>
        Groups.Publish(name, message, exclusions, CountExcluded(name, exclusions));

    int CountExcluded(string group, Exclusions? exclusions)
    {
        if (exclusions is null) return 0;
        var count = 0;
        foreach (var id in exclusions.ConnectionIds)
        {
            if (Connections.Find(id) is { } excluded && Own(excluded).IsIn(group)) count++;
        }

        return count;
    }

    static PublishResult SendToEach(IEnumerable<IBroadcastConnection> connections, Message message, Exclusions? exclusions)
    {
        var recipients = 0;
        foreach (var connection in connections)
        {
            if (exclusions is not null && exclusions.Contains(connection.Id)) continue;
            Own(connection).Send(message, exclusions);
            recipients++;
        }

        return new(null, recipients);
    }

    public Connection? Find(string connectionId, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(connectionId);
        cancellationToken.ThrowIfCancellationRequested();
        return Connections.Find(connectionId) is { } found ? Own(found) : null;
    }

    static Connection Own(IBroadcastConnection connection) => connection as Connection ?? throw new InvalidOperationException(
        $"The {nameof(IConnectionRegistry)} returned a connection of type {connection.GetType()} that it was not given: return the objects passed to TryAdd.");

    void BeginDrain()
    {
        _isStopping = true;
        Waiting.Close();
        try
        {
            Connection[] connections = [.. Connections.Connections.OfType<Connection>()];
            if (connections.Length == 0) return;
            Log.Draining(connections.Length, Options.DrainTimeout);
            _ = Drain.RunAsync(connections, Options.DrainTimeout, Time);
        }
        catch (Exception exception)
        {
            // The app ends all the same; the server cuts off whom nobody has told.
            Log.DrainFailed(exception);
        }
    }
}
