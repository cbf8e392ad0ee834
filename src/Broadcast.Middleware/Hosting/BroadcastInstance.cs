using System.Diagnostics.Metrics;
using System.Text.Json;
using Broadcast.Middleware.Clustering;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Filters;
using Broadcast.Middleware.Http;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Presence;
using Broadcast.Middleware.Protocols;
using Broadcast.Middleware.Publishing;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.AspNetCore.Routing.Patterns;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

/// <summary>One broadcast of an app. It creates the parts of the broadcast and connects them.</summary>
sealed class BroadcastInstance : IDisposable
{
    readonly BroadcastOptions _options;
    readonly TimeProvider _time;
    readonly BroadcastLogger _logger;
    readonly BroadcastMetrics _metrics;
    readonly Heartbeat _heartbeat;
    readonly GroupDirectory _groups;
    readonly GroupPresence _presence;
    readonly ConnectionManager _connections;
    readonly MessageRouter _router;
    readonly MessageValidator _validator;
    readonly ProtocolActions _protocolActions;
    readonly ClusterReceiver? _cluster;
    readonly ProtocolDescriptor[] _protocols;
    readonly ConnectionRequestFactory _requests;
    readonly FilterActions _filterActions;
    readonly ILoggerFactory _loggerFactory;

    public BroadcastInstance(IServiceProvider services, string name)
    {
        _options = services.GetRequiredService<IOptionsMonitor<BroadcastOptions>>().Get(name);
        _time = services.GetRequiredService<TimeProvider>();
        _loggerFactory = services.GetRequiredService<ILoggerFactory>();
        _logger = new BroadcastLogger(_loggerFactory.CreateLogger(name.Length == 0 ? "Broadcast" : $"Broadcast.{name}"));
        var pumps = Pump.CreatePerProcessor();
        _metrics = new BroadcastMetrics(
            services.GetRequiredService<IMeterFactory>(), name, () => pumps.Sum(static pump => pump.Delivered));
        var registry = services.GetBroadcastService<IConnectionRegistry>(name)!;
        var clock = new SequenceClock(() => _metrics.MeasuresLatency ? _time.GetTimestamp() : 0);
        _groups = new GroupDirectory(clock, new GroupRules(_options), _options.MaxEmptyGroups, _time);
        _heartbeat = new Heartbeat(_groups, _options, _time);

        var backplane = services.GetBroadcastService<IBackplane>(name);
        var clusterGroups = backplane is null ? null : new ClusterGroups(backplane, _groups, _time, _logger);
        var remote = backplane is null ? null : new RemoteConnections(backplane, _time, _logger);
        var members = backplane is null ? null : new ClusterMembers(backplane, remote!, _logger);

        _presence = new GroupPresence(registry, members, _time, _logger);
        IGroupProvider groupProvider = clusterGroups is null ? _groups : clusterGroups;
        var memberships = new Memberships(
            groupProvider, _groups, registry, _presence, _options.MaxGroupsPerConnection);
        _connections = new ConnectionManager(
            pumps,
            registry,
            memberships,
            _presence,
            remote,
            services.GetBroadcastService<IConnectionRevalidator>(name),
            clock,
            _heartbeat,
            _options,
            _time,
            _logger,
            _metrics,
            services.GetService<IHostApplicationLifetime>()?.ApplicationStopping ?? CancellationToken.None);

        var local = new LocalRouter(_groups, _connections, registry, _metrics);
        _router = backplane is null ? local : new ClusterRouter(local, remote!, backplane, _groups, _time, _metrics);
        _validator = new MessageValidator(_options.MaxBacklogBytes);
        Broadcaster = new Broadcaster(_router, _validator, registry, GetSerializerOptions(services));
        var stateLimit = new StateLimit(_options.MaxPresenceStateBytes);
        Presence = new PresenceService(_presence, _connections, members, stateLimit);
        var authorizer = services.GetBroadcastService<IGroupAuthorizer>(name);
        _protocolActions = new ProtocolActions(authorizer, _presence, stateLimit, _validator, _options);
        _protocols = [.. services.GetServices<IBroadcastProtocol>().Select(static protocol => new ProtocolDescriptor(protocol))];
        _requests = new ConnectionRequestFactory(services.GetBroadcastService<IUserIdProvider>(name));
        _filterActions = new FilterActions(Broadcaster, _validator, services.GetRequiredService<IServiceScopeFactory>());

        if (backplane is null) return;
        var handler = new NodeRequestHandler(remote!, local, _connections, _presence);
        _cluster = new ClusterReceiver(backplane, clusterGroups!, remote!, handler, _connections, _logger);
        _cluster.Start();
    }

    public Broadcaster Broadcaster { get; }

    public PresenceService Presence { get; }

    /// <summary>Creates the endpoint of a URL pattern.</summary>
    public BroadcastEndpoint CreateEndpoint(RoutePattern pattern, IEnumerable<IBroadcastFilter> filters)
    {
        var pipeline = new FilterPipeline(filters, _connections, _router, _validator);
        var lifecycle = new ConnectionLifecycle(pipeline, _filterActions, _connections, _groups, _heartbeat, _logger);
        var refusal = new Refusal(_logger, _metrics);
        var webSockets = new WebSocketHandler(
            _connections, lifecycle, pipeline, _filterActions, _protocolActions, refusal, _options, _time, _logger, _metrics);
        return new BroadcastEndpoint(
            new GroupNameTemplate(pattern),
            new OriginCheck(_options.AllowedOrigins),
            _protocols,
            _requests,
            _connections,
            webSockets,
            new EventStreamHandler(lifecycle),
            refusal,
            _loggerFactory);
    }

    public void Dispose()
    {
        _connections.Dispose();
        _heartbeat.Dispose();
        _cluster?.Dispose();
    }

    static JsonSerializerOptions GetSerializerOptions(IServiceProvider services) =>
        services.GetRequiredService<IOptions<JsonOptions>>().Value.SerializerOptions;
}
