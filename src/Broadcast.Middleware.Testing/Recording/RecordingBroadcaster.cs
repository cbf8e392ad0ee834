using System.Diagnostics.Metrics;
using System.Net.WebSockets;
using System.Security.Claims;
using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Testing;

/// <summary>
/// A broadcaster for unit tests. The broadcaster records each publish, join, leave, close and extended authentication,
/// and has no clients.
/// </summary>
/// <remarks>
/// Invalid arguments throw the same exceptions as in the app, because each call also goes to a real broadcast without
/// connections. All members are thread-safe.
/// </remarks>
public sealed class RecordingBroadcaster : IBroadcaster
{
    readonly Lock _gate = new();
    readonly IBroadcaster _inner;
    readonly HashSet<(string ConnectionId, string Group)> _memberships = [];
    readonly List<object> _calls = [];

    /// <summary>Creates a broadcaster.</summary>
    /// <param name="configure">
    /// Configures the broadcast that checks the arguments, for example with <c>Configure&lt;BroadcastOptions&gt;</c> or
    /// <c>ConfigureHttpJsonOptions</c>. Null for the defaults.
    /// </param>
    public RecordingBroadcaster(Action<IServiceCollection>? configure = null)
    {
        var services = new ServiceCollection();
        // With a manual clock, the broadcast starts no real timer.
        services.AddLogging().AddSingleton<TimeProvider>(new FakeTimeProvider()).AddBroadcast();
        configure?.Invoke(services);
        var provider = services.BuildServiceProvider();
        _inner = provider.GetRequiredService<IBroadcaster>();
        Connections = provider.GetRequiredService<IConnectionRegistry>();
        // .NET keeps a list of all meters. Without this call, the list would keep each broadcaster in memory.
        (provider.GetRequiredService<IMeterFactory>() as IDisposable)?.Dispose();
    }

    /// <summary>
    /// The connections of the test. To count recipients, add a <see cref="TestConnection"/> with
    /// <see cref="IConnectionRegistry.TryAdd"/>. A <see cref="FilterTest"/> adds its own connection.
    /// </summary>
    public IConnectionRegistry Connections { get; }

    /// <inheritdoc />
    public JsonSerializerOptions SerializerOptions => _inner.SerializerOptions;

    /// <summary>
    /// The exception that each call throws, for example a <see cref="BackplaneException"/>. The broadcaster then
    /// records nothing. Default: null.
    /// </summary>
    public Exception? Failure { get; set; }

    /// <summary>The published messages, in the order of the calls. The property returns a copy.</summary>
    public IReadOnlyList<RecordedPublish> Publishes => GetCalls<RecordedPublish>();

    /// <summary>The joins and leaves, in the order of the calls. The property returns a copy.</summary>
    public IReadOnlyList<RecordedMembership> Memberships => GetCalls<RecordedMembership>();

    /// <summary>The calls that close a connection, oldest first. The property returns a copy.</summary>
    public IReadOnlyList<RecordedClose> Closes => GetCalls<RecordedClose>();

    /// <summary>The extended authentications, in the order of the calls. The property returns a copy.</summary>
    public IReadOnlyList<RecordedAuthentication> Authentications => GetCalls<RecordedAuthentication>();

    /// <inheritdoc />
    public async ValueTask<PublishResult> PublishAsync(
        Message message, Recipients recipients = default, CancellationToken cancellationToken = default)
    {
        ThrowIfFailing();
        var checkedResult = await _inner.PublishAsync(message, recipients, cancellationToken).ConfigureAwait(false);
        var recipientCount = checkedResult.IsDuplicate ? 0 : CountRecipients(recipients);
        var result = new PublishResult(checkedResult.Position, recipientCount)
        {
            IsDuplicate = checkedResult.IsDuplicate,
        };
        // The caller may reuse its buffer after the call.
        Add(new RecordedPublish(message with { Payload = message.Payload.ToArray() }, recipients, result));
        return result;
    }

    /// <summary>
    /// Reads the messages that this broadcaster publishes to a group. The broadcaster does not record the call.
    /// </summary>
    /// <inheritdoc cref="IBroadcaster.ReadAsync" path="/param|/returns|/exception"/>
    public IAsyncEnumerable<ReceivedMessage> ReadAsync(
        string group, ReadOptions? options = null, CancellationToken cancellationToken = default)
    {
        ThrowIfFailing();
        return _inner.ReadAsync(group, options, cancellationToken);
    }

    /// <summary>Records a join. The broadcaster accepts the ID of any connection.</summary>
    /// <inheritdoc cref="IBroadcaster.JoinAsync(string, string, CancellationToken)" path="/param|/exception"/>
    /// <returns>False if the connection is already a member.</returns>
    public async ValueTask<bool> JoinAsync(
        string connectionId, string group, CancellationToken cancellationToken = default) =>
        (await JoinAsync(connectionId, group, default, cancellationToken).ConfigureAwait(false)).Joined;

    /// <summary>Records a join. The broadcaster accepts the ID of any connection.</summary>
    /// <inheritdoc cref="IBroadcaster.JoinAsync(string, string, Replay, CancellationToken)" path="/param|/exception"/>
    public ValueTask<JoinResult> JoinAsync(
        string connectionId, string group, Replay replay, CancellationToken cancellationToken = default) =>
        JoinAsync(connectionId, group, replay, null, cancellationToken);

    /// <summary>Records a join. The broadcaster accepts the ID of any connection.</summary>
    /// <inheritdoc cref="IBroadcaster.JoinAsync(string, string, Replay, SubscriptionFilter, CancellationToken)"
    /// path="/param|/exception"/>
    public async ValueTask<JoinResult> JoinAsync(
        string connectionId,
        string group,
        Replay replay,
        SubscriptionFilter? filter,
        CancellationToken cancellationToken = default)
    {
        ThrowIfFailing();
        await _inner.JoinAsync(connectionId, group, replay, filter, cancellationToken).ConfigureAwait(false);
        var isNew = TryJoin(connectionId, group);
        Add(new RecordedMembership(true, connectionId, group, replay, filter));
        return new(isNew, null, null);
    }

    /// <summary>Records a leave.</summary>
    /// <inheritdoc cref="IBroadcaster.LeaveAsync" path="/param|/exception"/>
    /// <returns>False if the connection is not a member.</returns>
    public async ValueTask<bool> LeaveAsync(
        string connectionId, string group, CancellationToken cancellationToken = default)
    {
        ThrowIfFailing();
        await _inner.LeaveAsync(connectionId, group, cancellationToken).ConfigureAwait(false);
        bool isMember;
        lock (_gate) isMember = _memberships.Remove((connectionId, group));
        if (Connections.Find(connectionId) is { } connection)
        {
            Connections.Leave(connection, group);
            (connection as TestConnection)?.Remove(group);
        }

        Add(new RecordedMembership(false, connectionId, group, default, null));
        return isMember;
    }

    /// <summary>Records a close. The broadcaster accepts the ID of any connection.</summary>
    /// <inheritdoc cref="IBroadcaster.CloseAsync" path="/param|/exception"/>
    /// <returns>Always true.</returns>
    public async ValueTask<bool> CloseAsync(
        string connectionId,
        WebSocketCloseStatus status = WebSocketCloseStatus.NormalClosure,
        string? reason = null,
        CancellationToken cancellationToken = default)
    {
        ThrowIfFailing();
        await _inner.CloseAsync(connectionId, status, reason, cancellationToken).ConfigureAwait(false);
        Add(new RecordedClose(connectionId, status, reason));
        return true;
    }

    /// <summary>
    /// Records an extended authentication, and sets the user of a <see cref="TestConnection"/> in
    /// <see cref="Connections"/>. The broadcaster accepts the ID of any connection.
    /// </summary>
    /// <inheritdoc cref="IBroadcaster.ExtendAuthenticationAsync" path="/param|/exception"/>
    /// <returns>False if the connection has another user.</returns>
    public async ValueTask<bool> ExtendAuthenticationAsync(
        string connectionId,
        ClaimsPrincipal user,
        DateTimeOffset? expires,
        CancellationToken cancellationToken = default)
    {
        ThrowIfFailing();
        await _inner.ExtendAuthenticationAsync(connectionId, user, expires, cancellationToken).ConfigureAwait(false);
        Add(new RecordedAuthentication(connectionId, user, expires));
        if (Connections.Find(connectionId) is not TestConnection connection) return true;
        if (connection.UserId != TestConnection.GetUserId(user)) return false;
        connection.User = user;
        return true;
    }

    /// <summary>
    /// Records a close with code 1008. The broadcaster accepts the ID of any connection.
    /// </summary>
    /// <inheritdoc cref="IBroadcaster.EndAuthenticationAsync" path="/param|/exception"/>
    /// <returns>Always true.</returns>
    public async ValueTask<bool> EndAuthenticationAsync(
        string connectionId, CancellationToken cancellationToken = default)
    {
        ThrowIfFailing();
        await _inner.EndAuthenticationAsync(connectionId, cancellationToken).ConfigureAwait(false);
        Add(new RecordedClose(
            connectionId, WebSocketCloseStatus.PolicyViolation, "The authentication has expired. Connect again."));
        return true;
    }

    /// <summary>Asserts that a message with this text was published, and returns the publish.</summary>
    /// <param name="text">The text.</param>
    /// <param name="recipients">The recipients. Null for any recipients.</param>
    /// <exception cref="BroadcastTestException">
    /// No published message matches. The exception message lists all calls.
    /// </exception>
    public RecordedPublish AssertPublished(string text, Recipients? recipients = null)
    {
        ArgumentNullException.ThrowIfNull(text);
        var found = Publishes.FirstOrDefault(publish =>
            publish.Text == text && (recipients is not { } expected || publish.Recipients == expected));
        if (found is not null) return found;
        var to = recipients is { } named ? $" to {RecordedPublish.Describe(named)}" : "";
        throw new BroadcastTestException($"No call published '{text}'{to}. {DescribeCalls()}");
    }

    /// <summary>Asserts that nothing was published.</summary>
    /// <exception cref="BroadcastTestException">
    /// A message was published. The exception message lists all calls.
    /// </exception>
    public void AssertNothingPublished()
    {
        if (Publishes.Count > 0) throw new BroadcastTestException($"A message was published. {DescribeCalls()}");
    }

    /// <summary>Asserts that a connection joined a group.</summary>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="group">The name of the group.</param>
    /// <exception cref="BroadcastTestException">
    /// The connection did not join the group. The exception message lists all calls.
    /// </exception>
    public void AssertJoined(string connectionId, string group) => AssertMembership(true, connectionId, group);

    /// <summary>Asserts that a connection left a group.</summary>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="group">The name of the group.</param>
    /// <exception cref="BroadcastTestException">
    /// The connection did not leave the group. The exception message lists all calls.
    /// </exception>
    public void AssertLeft(string connectionId, string group) => AssertMembership(false, connectionId, group);

    /// <summary>Asserts that a connection was closed.</summary>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="status">The close code. Null for any code.</param>
    /// <exception cref="BroadcastTestException">
    /// No matching call closed the connection. The exception message lists all calls.
    /// </exception>
    public RecordedClose AssertClosed(string connectionId, WebSocketCloseStatus? status = null) =>
        Closes.FirstOrDefault(close =>
            close.ConnectionId == connectionId && (status is null || close.Status == status))
        ?? throw new BroadcastTestException(
            $"No call closed {connectionId}{(status is null ? "" : $" with {(int)status}")}. {DescribeCalls()}");

    /// <summary>Adds a connection to its home group, but records no join.</summary>
    internal void Admit(TestConnection connection)
    {
        Connections.TryAdd(connection);
        TryJoin(connection.Id, connection.HomeGroup);
    }

    /// <summary>Records the join of the home group, with the settings of a connect filter.</summary>
    internal void RecordJoin(TestConnection connection, Replay replay, SubscriptionFilter? filter) =>
        Add(new RecordedMembership(true, connection.Id, connection.HomeGroup, replay, filter));

    /// <summary>Removes a connection from its groups, but records no leave.</summary>
    internal void Remove(TestConnection connection)
    {
        lock (_gate) _memberships.RemoveWhere(membership => membership.ConnectionId == connection.Id);
        Connections.Remove(connection);
        foreach (var group in connection.Groups) connection.Remove(group);
    }

    void AssertMembership(bool isJoin, string connectionId, string group)
    {
        if (Memberships.Any(call => call.IsJoin == isJoin && call.ConnectionId == connectionId && call.Group == group))
            return;
        throw new BroadcastTestException(
            $"{connectionId} did not {(isJoin ? "join" : "leave")} the group '{group}'. {DescribeCalls()}");
    }

    bool TryJoin(string connectionId, string group)
    {
        lock (_gate)
        {
            if (!_memberships.Add((connectionId, group))) return false;
        }

        if (Connections.Find(connectionId) is not { } connection) return true;
        Connections.TryJoin(connection, group);
        (connection as TestConnection)?.Add(group);
        return true;
    }

    int CountRecipients(Recipients recipients)
    {
        var selected = recipients.Kind switch
        {
            RecipientsKind.Everyone => Connections.Connections,
            RecipientsKind.User => Connections.GetUserConnections(recipients.Name!),
            RecipientsKind.Connection => Connections.Connections.Where(connection => connection.Id == recipients.Name),
            _ => recipients.Names.SelectMany(Connections.GetGroupMembers),
        };
        return selected.Select(static connection => connection.Id).Distinct().Except(recipients.Excluded).Count();
    }

    void ThrowIfFailing()
    {
        if (Failure is { } failure) throw failure;
    }

    void Add(object call)
    {
        lock (_gate) _calls.Add(call);
    }

    List<T> GetCalls<T>()
    {
        lock (_gate) return [.. _calls.OfType<T>()];
    }

    string DescribeCalls()
    {
        lock (_gate)
        {
            return _calls.Count == 0
                ? "There were no calls."
                : $"The calls were:{string.Concat(_calls.Select(static call => $"\n- {call}"))}";
        }
    }
}
