using System.Diagnostics.Metrics;
using System.Net.WebSockets;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// A real broadcast without an app. By default, the test drives the pumps and the clock. With zero pumps, the broadcast
/// uses its own pumps and the system clock.
/// </summary>
sealed class TestEngine : IDisposable
{
    static readonly ServiceProvider _services = new ServiceCollection().AddMetrics().BuildServiceProvider();

    readonly BroadcastInstance _instance;

    public TestEngine(
        int pumps = 1, int maxBacklog = 1 << 20, IConnectionRegistry? registry = null, Action<BroadcastOptions>? configure = null,
        IBackplane? backplane = null, ILoggerFactory? loggers = null)
    {
        Pumps = [.. Enumerable.Range(0, pumps).Select(_ => new ManualPump())];
        Options = new() { MaxBacklogBytes = maxBacklog, CloseTimeout = TimeSpan.FromHours(1) };
        configure?.Invoke(Options);
        _instance = new(
            "", Options, registry ?? new ConnectionRegistry(), null, null, null, [], backplane, JsonSerializerOptions.Default,
            _services.GetRequiredService<IServiceScopeFactory>(), pumps == 0 ? TimeProvider.System : Time,
            _services.GetRequiredService<IMeterFactory>(), loggers ?? NullLoggerFactory.Instance, CancellationToken.None);
    }

    public ManualPump[] Pumps { get; }

    public FakeTimeProvider Time { get; } = new();

    public BroadcastInstance Instance => _instance;

    public BroadcastOptions Options { get; }

    public IBroadcaster Public => _instance.Broadcaster;

    public IConnectionRegistry Connections => _instance.Broadcaster.Connections;

    public ConnectionManager Manager => _instance.Connections;

    public GroupDirectory Groups => _instance.Groups;

    public IPresence Presence => _instance.Presence;

    public GroupPresence States => StatesOf(_instance.Presence);

    public SequenceClock Clock => _instance.Clock;

    public Heartbeat Heartbeat => _instance.Heartbeat;

    public ClusterReceiver? Cluster => _instance.Cluster;

    public PublishResult Publish(Message message, Recipients recipients)
    {
        // Do not create a task, because a task would allocate and some tests measure the allocations.
#pragma warning disable CA2012 // The assertion checks that the task has completed.
        var publishing = _instance.Router.PublishAsync(message, recipients, CancellationToken.None);
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

    public ValueTask<JoinResult> JoinAsync(
        string connectionId, string group, Replay replay, SubscriptionFilter? filter, CancellationToken cancellationToken = default) =>
        Public.JoinAsync(connectionId, group, replay, filter, cancellationToken);

    public ValueTask<bool> LeaveAsync(string connectionId, string group, CancellationToken cancellationToken = default) =>
        Public.LeaveAsync(connectionId, group, cancellationToken);

    public ValueTask<bool> CloseAsync(
        string connectionId, WebSocketCloseStatus status, string? reason, CancellationToken cancellationToken = default) =>
        Public.CloseAsync(connectionId, status, reason, cancellationToken);

    /// <summary>Admits a connection without an HTTP request. If the pump is null, the broadcast chooses one of its own pumps.</summary>
    public Connection Admit(FakeRequest request, string homeGroup, ConnectionFormat? format = null, Pump? pump = null)
    {
        var facts = new ConnectionRequest(
            request, homeGroup, request.UserId, null, null, null, null, format ?? ProtocolDescriptor.Raw,
            new EndpointSettings(Options));
        return Manager.Admit(facts, out _, pump)!;
    }

    /// <summary>Admits a connection on a pump that the test chooses.</summary>
    public Connection Admit(ManualPump pump, string homeGroup, FakeRequest? request = null, ProtocolDescriptor? protocol = null) =>
        Admit(request ?? new FakeRequest(), homeGroup, protocol, pump.Pump);

    public ValueTask<JoinResult> AttachAsync(Connection connection, Replay replay = default, SubscriptionFilter? filter = null) =>
        _instance.Connections.OpenAsync(connection, replay, filter);

    /// <summary>Connects on one of the broadcast's own pumps, or on the pump that the test chooses.</summary>
    public Connection Connect(
        ManualPump? pump, string homeGroup, Sink sink, FakeRequest? request = null, ConnectionFormat? protocol = null, SubscriptionFilter? filter = null)
    {
        var connection = Admit(request ?? new FakeRequest(), homeGroup, protocol, pump?.Pump);
        connection.Writer.Open(sink);
        Assert.True(AttachAsync(connection, filter: filter).AsTask().IsCompletedSuccessfully);
        return connection;
    }

    /// <summary>Connects to a node of a cluster, in which a join is asynchronous.</summary>
    public async Task<Connection> ConnectAsync(
        ManualPump? pump, string homeGroup, Sink sink, FakeRequest? request = null, Replay replay = default, SubscriptionFilter? filter = null)
    {
        var connection = Admit(request ?? new FakeRequest(), homeGroup, pump: pump?.Pump);
        connection.Writer.Open(sink);
        await AttachAsync(connection, replay, filter);
        return connection;
    }

    public void Remove(Connection connection) => _instance.Connections.Remove(connection);

    /// <summary>Does what the endpoint does when the request ends. Waits until a pending write ends.</summary>
    public async Task DisconnectAsync(Connection connection)
    {
        Remove(connection);
        await connection.Writer.DetachAsync().WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
        connection.End();
    }

    public bool SetState(Connection connection, string group, byte[] state) => States.SetState(connection, group, state);

    /// <summary>Returns the protocol context of a connection.</summary>
    public ProtocolContext ContextOf(Connection connection)
    {
        if (connection.ProtocolState is ProtocolContext known) return known;
        var validator = new MessageValidator(Options.MaxBacklogBytes);
        var context = new ProtocolContext(
            connection,
            new ProtocolActions(
                new AllowedGroups(), States, new StateLimit(Options.MaxPresenceStateBytes), validator,
                Options.MaxGroupsPerConnection, FeedSender.GetMaxBatchBytes(Options.MaxBacklogBytes)),
            new FilterPipeline([], Manager, _instance.Router, validator, new BroadcastTracing(""), "/test"),
            new FilterActions(Public, validator, null!));
        connection.ProtocolState = context;
        return context;
    }

    public void Beat() => Time.Advance(TimeSpan.FromSeconds(3.75));

    public void RunUntilIdle()
    {
        while (Array.Exists(Pumps, pump => pump.IsScheduled))
        {
            foreach (var pump in Pumps) pump.RunUntilIdle();
        }
    }

    /// <summary>Runs the pumps and completes the pending writes until no work is left.</summary>
    public void RunUntilWritten(Func<IEnumerable<ManualSink>> sinks)
    {
        do
        {
            RunUntilIdle();
            foreach (var sink in sinks()) sink.CompleteWrite();
        }
        while (Array.Exists(Pumps, pump => pump.IsScheduled));
    }

    public void Dispose() => _instance.Dispose();

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "<presence>P")]
    static extern ref GroupPresence StatesOf(PresenceService service);
}
