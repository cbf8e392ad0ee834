using System.Net.WebSockets;
using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>The parts of a broadcast that tests without an app use.</summary>
sealed class TestBroadcaster(BroadcastInstance instance, BroadcastOptions options) : IDisposable
{
    public BroadcastInstance Instance => instance;

    public BroadcastOptions Options => options;

    public IBroadcaster Public => instance.Broadcaster;

    public IConnectionRegistry Connections => instance.Broadcaster.Connections;

    public ConnectionManager Manager => instance.Connections;

    public GroupDirectory Groups => instance.Groups;

    public IPresence Presence => instance.Presence;

    public SequenceClock Clock => instance.Clock;

    public Heartbeat Heartbeat => instance.Heartbeat;

    public ClusterReceiver? Cluster => instance.Cluster;

    public PublishResult Publish(Message message, Recipients recipients)
    {
        // A task would allocate, and some tests measure the allocations.
#pragma warning disable CA2012 // The assertion checks that the result is there.
        var publishing = instance.Router.PublishAsync(message, recipients, CancellationToken.None);
        Assert.True(publishing.IsCompletedSuccessfully);
        return publishing.GetAwaiter().GetResult();
#pragma warning restore CA2012
    }

    public ValueTask<PublishResult> PublishTextAsync(
        string text, Recipients recipients = default, CancellationToken cancellationToken = default) =>
        Public.PublishAsync(text, recipients, cancellationToken: cancellationToken);

    public ValueTask<PublishResult> PublishAsync(
        Message message, Recipients recipients = default, CancellationToken cancellationToken = default) =>
        Public.PublishAsync(message, recipients, cancellationToken);

    public ValueTask<bool> JoinAsync(string connectionId, string group, CancellationToken cancellationToken = default) =>
        Public.JoinAsync(connectionId, group, cancellationToken);

    public ValueTask<JoinResult> JoinAsync(
        string connectionId, string group, Replay replay, CancellationToken cancellationToken = default) =>
        Public.JoinAsync(connectionId, group, replay, cancellationToken);

    public ValueTask<bool> LeaveAsync(string connectionId, string group, CancellationToken cancellationToken = default) =>
        Public.LeaveAsync(connectionId, group, cancellationToken);

    public ValueTask<bool> CloseAsync(
        string connectionId, WebSocketCloseStatus status, string? reason, CancellationToken cancellationToken = default) =>
        Public.CloseAsync(connectionId, status, reason, cancellationToken);

    /// <summary>Admits a connection without an HTTP request.</summary>
    public Connection Admit(FakeRequest request, string homeGroup, ConnectionFormat? format = null, Pump? pump = null)
    {
        var facts = new ConnectionRequest(
            request, homeGroup, request.UserId, null, null, null, null, format ?? ProtocolDescriptor.Raw,
            new EndpointSettings(options));
        return Manager.Admit(facts, out _, pump)!;
    }

    public ValueTask<JoinResult> AttachAsync(Connection connection, Replay replay = default) =>
        instance.Connections.OpenAsync(connection, replay);

    public GroupPresence States => StatesOf(instance.Presence);

    public bool SetState(Connection connection, string group, byte[] state) => States.SetState(connection, group, state);

    /// <summary>Returns the protocol context of a connection.</summary>
    public ProtocolContext ContextOf(Connection connection)
    {
        if (connection.ProtocolState is ProtocolContext known) return known;
        var validator = new MessageValidator(options.MaxBacklogBytes);
        var context = new ProtocolContext(
            connection,
            new ProtocolActions(null, States, new StateLimit(options.MaxPresenceStateBytes), validator, options),
            new FilterPipeline([], Manager, instance.Router, validator),
            new FilterActions(Public, validator, null!));
        connection.ProtocolState = context;
        return context;
    }

    public void Remove(Connection connection) => instance.Connections.Remove(connection);

    public void Dispose() => instance.Dispose();

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "<presence>P")]
    static extern ref GroupPresence StatesOf(PresenceService service);
}
