using System.Collections.Concurrent;
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
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.AspNetCore.Routing.Patterns;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Hosting;

/// <summary>One broadcast of an app. The constructor creates and connects the parts of the broadcast.</summary>
sealed class BroadcastInstance : IDisposable
{
    readonly GroupPresence _groupPresence;
    readonly BroadcastOptions _options;
    readonly TimeProvider _time;
    readonly BroadcastLogger _logger;
    readonly BroadcastMetrics _metrics;
    readonly BroadcastTracing _tracing;
    readonly MessageValidator _validator;
    readonly ProtocolActions _protocolActions;
    readonly int _maxBatchBytes;
    readonly ProtocolDescriptor[] _protocols;
    readonly UserIds _userIds;
    readonly ConnectionRequestFactory _requests;
    readonly FilterActions _filterActions;
    readonly ILoggerFactory _loggerFactory;
    readonly IGroupProvider _groupProvider;
    readonly ConcurrentDictionary<int, CompressionSettings> _compressions = new();

    public BroadcastInstance(
        string name,
        BroadcastOptions options,
        IConnectionRegistry registry,
        IConnectionRevalidator? revalidator,
        IUserIdProvider? userIds,
        IGroupAuthorizer? authorizer,
        IEnumerable<IBroadcastProtocol> protocols,
        IBackplane? backplane,
        JsonSerializerOptions serializerOptions,
        IServiceScopeFactory scopes,
        TimeProvider time,
        IMeterFactory meters,
        ILoggerFactory loggerFactory,
        CancellationToken applicationStopping,
        CancellationToken? drainStarting = null,
        CookieRenewals? cookies = null,
        string traceSource = BroadcastTracing.SourceName)
    {
        _options = options;
        _time = time;
        _loggerFactory = loggerFactory;
        _logger = new BroadcastLogger(loggerFactory.CreateLogger(name.Length == 0 ? "Broadcast" : $"Broadcast.{name}"));
        var pumps = Pump.CreatePerProcessor();
        _metrics = new BroadcastMetrics(meters, name, () => pumps.Sum(static pump => pump.Delivered));
        _tracing = new BroadcastTracing(name, traceSource);
        Clock = new SequenceClock(() => _metrics.MeasuresLatency ? time.GetTimestamp() : 0);
        Groups = new GroupDirectory(Clock, new GroupRules(options), options.MaxEmptyGroups, time);
        Heartbeat = new Heartbeat(Groups, options.RevalidationInterval, new EndpointSettings(options), time);

        var clusterGroups = backplane is null
            ? null
            : new ClusterGroups(backplane, Groups, options.MessageIdWindow, time, _logger, _tracing);
        var remote = backplane is null ? null : new RemoteConnections(backplane, time, _logger);
        var members = backplane is null ? null : new ClusterMembers(backplane, remote!, _logger);

        // The connection manager needs the presence. So the presence receives the method Find as a delegate.
        var presence = _groupPresence = new GroupPresence(
            registry, id => Connections!.Find(id), members, time, _logger);
        _groupProvider = clusterGroups is null ? Groups : clusterGroups;
        Memberships = new Memberships(_groupProvider, Groups, registry, presence, options.MaxGroupsPerConnection);
        Connections = new ConnectionManager(
            pumps, registry, Memberships, presence, remote, revalidator, Clock, Heartbeat, options, time, _logger,
            _metrics, applicationStopping, drainStarting ?? applicationStopping);

        var ids = new PublishedIds(options.MaxMessageIds, time);
        var local = new LocalRouter(Groups, Connections, registry, ids, options.MessageIdWindow, _metrics);
        Router = backplane is null
            ? local
            : new ClusterRouter(
                local, remote!, backplane, Groups, time, _metrics, _logger, () => _tracing.TraceParent);
        _validator = new MessageValidator(options.MaxBacklogBytes);
        var readers = new GroupReaders(
            pumps, _groupProvider, Groups, Clock, options.MaxBacklogBytes, _metrics, applicationStopping);
        _userIds = new UserIds(userIds is null ? null : userIds.GetUserId, _logger);
        Broadcaster = new Broadcaster(Router, _validator, readers, registry, _userIds, serializerOptions, _tracing);
        var stateLimit = new StateLimit(options.MaxPresenceStateBytes);
        Presence = new PresenceService(presence, registry, Connections, members, stateLimit);
        _maxBatchBytes = FeedSender.GetMaxBatchBytes(options.MaxBacklogBytes);
        _protocolActions = new ProtocolActions(
            authorizer, presence, stateLimit, _validator, options.MaxGroupsPerConnection, _maxBatchBytes);
        _protocols = [.. protocols.Select(static protocol => new ProtocolDescriptor(protocol))];
        _requests = new ConnectionRequestFactory(_userIds, cookies);
        _filterActions = new FilterActions(Broadcaster, _validator, scopes);

        if (backplane is null) return;
        var handler = new NodeRequestHandler(remote!, local, Connections, presence, _tracing);
        Cluster = new ClusterReceiver(backplane, clusterGroups!, remote!, handler, Connections, _logger);
        Cluster.Start();
    }

    /// <summary>The meter with the instruments of this broadcast.</summary>
    public Meter Meter => _metrics.Meter;

    public SequenceClock Clock { get; }

    public GroupDirectory Groups { get; }

    public Heartbeat Heartbeat { get; }

    public Memberships Memberships { get; }

    public ConnectionManager Connections { get; }

    public MessageRouter Router { get; }

    /// <summary>Receives messages from other nodes. Null without a cluster.</summary>
    public ClusterReceiver? Cluster { get; }

    public Broadcaster Broadcaster { get; }

    public PresenceService Presence { get; }

    /// <summary>True if the app runs in the environment Development.</summary>
    public bool IsDevelopment { get; init; }

    /// <summary>
    /// Creates a broadcast that the app has added. The broadcast uses services of the app, such as a registry or a
    /// backplane.
    /// </summary>
    public static BroadcastInstance Create(IServiceProvider services, string name) => Create(
        services,
        name,
        services.GetRequiredService<IOptionsMonitor<BroadcastOptions>>().Get(name),
        services.GetBroadcastService<IConnectionRegistry>(name)!,
        services.GetBroadcastService<IConnectionRevalidator>(name),
        services.GetBroadcastService<IUserIdProvider>(name),
        services.GetBroadcastService<IGroupAuthorizer>(name),
        services.GetServices<IBroadcastProtocol>(),
        services.GetBroadcastService<IBackplane>(name),
        services.GetRequiredService<IMeterFactory>(),
        services.GetService<IWebHostEnvironment>()?.IsDevelopment() is true);

    /// <summary>
    /// Creates the broadcast for the clients of the presence endpoints. These clients are not clients of the watched
    /// broadcast. They do not receive the messages of the watched broadcast, and are not in the registry of the watched
    /// broadcast.
    /// </summary>
    /// <param name="services">The services of the app.</param>
    /// <param name="name">The name of the watched broadcast.</param>
    public static BroadcastInstance CreateForPresence(IServiceProvider services, string name) => Create(
        services,
        name.Length == 0 ? "presence" : $"{name}.presence",
        services.GetRequiredService<IOptionsMonitor<BroadcastOptions>>().Get(name),
        new ConnectionRegistry(),
        services.GetBroadcastService<IConnectionRevalidator>(name),
        services.GetBroadcastService<IUserIdProvider>(name),
        authorizer: null,
        services.GetServices<IBroadcastProtocol>(),
        backplane: null,
        services.GetRequiredService<IMeterFactory>(),
        services.GetService<IWebHostEnvironment>()?.IsDevelopment() is true);

    /// <summary>
    /// Creates a broadcast that a package of this library uses for itself. The broadcast uses no registry, backplane or
    /// other service that the app may have registered for a broadcast.
    /// </summary>
    /// <param name="services">The services of the app.</param>
    /// <param name="name">The name of the broadcast. The name is a part of the log category.</param>
    /// <param name="options">The options.</param>
    /// <param name="meters">
    /// Creates the meter of the broadcast. The broadcast does not use the meter and the activity source of the app's
    /// broadcasts. So the metrics and traces of the app do not contain this broadcast.
    /// </param>
    public static BroadcastInstance CreateInternal(
        IServiceProvider services, string name, BroadcastOptions options, IMeterFactory meters) => Create(
        services,
        name,
        options,
        new ConnectionRegistry(),
        revalidator: null,
        userIds: null,
        authorizer: null,
        protocols: [],
        backplane: null,
        meters,
        isDevelopment: false,
        traceSource: "Broadcast.Internal");

    static BroadcastInstance Create(
        IServiceProvider services,
        string name,
        BroadcastOptions options,
        IConnectionRegistry registry,
        IConnectionRevalidator? revalidator,
        IUserIdProvider? userIds,
        IGroupAuthorizer? authorizer,
        IEnumerable<IBroadcastProtocol> protocols,
        IBackplane? backplane,
        IMeterFactory meters,
        bool isDevelopment,
        string traceSource = BroadcastTracing.SourceName)
    {
        var drain = services.GetService<DrainSchedule>();
        var broadcast = new BroadcastInstance(
            name,
            options,
            registry,
            revalidator,
            userIds,
            authorizer,
            protocols,
            backplane,
            services.GetRequiredService<IOptions<JsonOptions>>().Value.SerializerOptions,
            services.GetRequiredService<IServiceScopeFactory>(),
            services.GetRequiredService<TimeProvider>(),
            meters,
            services.GetRequiredService<ILoggerFactory>(),
            services.GetService<IHostApplicationLifetime>()?.ApplicationStopping ?? CancellationToken.None,
            drain?.Starting,
            services.GetService<CookieRenewals>(),
            traceSource)
        {
            IsDevelopment = isDevelopment,
        };
        drain?.Add(broadcast.Connections);
        return broadcast;
    }

    /// <summary>Creates the feeds of a presence endpoint.</summary>
    /// <param name="select">See <see cref="MemberWriter"/>.</param>
    public PresenceFeeds CreatePresenceFeeds(Func<Utf8JsonWriter, PresenceMember, bool>? select) =>
        new(_groupPresence, new MemberWriter(select, _maxBatchBytes, _logger), _time);

    /// <summary>
    /// Creates the last filter of a presence endpoint. The filter sends each client the members of a group.
    /// </summary>
    /// <param name="feeds">The feeds of the endpoint.</param>
    /// <param name="findGroup">Returns the name of the group that the client of a request watches.</param>
    public PresenceFilter CreatePresenceFilter(PresenceFeeds feeds, Func<HttpContext, string> findGroup) =>
        new(feeds, findGroup, _options.MaxGroupsPerConnection, _maxBatchBytes);

    /// <summary>Creates an endpoint at which clients refresh their authentication.</summary>
    /// <param name="findGroup">Returns the home group that the connection of a request must have.</param>
    public RefreshEndpoint CreateRefreshEndpoint(Func<HttpContext, string> findGroup) => new(
        findGroup,
        CreateOriginCheck(CreateEndpointOptions()),
        _userIds,
        Router,
        _options.CloseOnAuthenticationExpiration ? _time : null,
        _logger);

    /// <summary>Creates endpoint options that start with the values of the broadcast.</summary>
    public BroadcastEndpointOptions CreateEndpointOptions() => new(_options);

    /// <summary>Creates the endpoint of a URL pattern.</summary>
    /// <param name="pattern">The route pattern of the endpoint.</param>
    /// <param name="requiredHosts">The hosts of <c>RequireHost</c>. Empty if the endpoint accepts every host.</param>
    /// <param name="options">The options of the endpoint.</param>
    /// <param name="filters">The filters of the broadcast and of the endpoint.</param>
    /// <exception cref="OptionsValidationException">At least one option is invalid.</exception>
    public BroadcastEndpoint CreateEndpoint(
        RoutePattern pattern,
        IEnumerable<string> requiredHosts,
        BroadcastEndpointOptions options,
        IEnumerable<IBroadcastFilter> filters)
    {
        EndpointOptionsValidator.ThrowIfInvalid(pattern.RawText, options, _options.MaxBacklogBytes);
        var settings = new EndpointSettings(options, _options.MaxBacklogBytes, GetCompression(options));
        Heartbeat.Adapt(settings);
        Groups.Adapt(settings.SlowConsumer);
        var pipeline = new FilterPipeline(
            filters, Connections, Router, _validator, _tracing, $"/{pattern.RawText?.TrimStart('/')}");
        var lifecycle = new ConnectionLifecycle(
            pipeline, _filterActions, Connections, Groups, Heartbeat, _userIds, _logger);
        var refusal = new Refusal(settings.EventStreamRetry, _logger, _metrics);
        var webSockets = new WebSocketHandler(
            Connections, lifecycle, pipeline, _filterActions, _protocolActions, refusal, settings, _time, _logger,
            _metrics, _tracing);
        return new BroadcastEndpoint(
            new GroupNameTemplate(pattern),
            new GroupNameScope(options.GroupScope, requiredHosts),
            settings,
            CreateOriginCheck(options),
            [
                ProtocolDescriptor.Positions,
                .. _protocols,
                .. options.RawSubprotocols.Select(static name => new ProtocolDescriptor(new RawProtocol(name))),
            ],
            _requests,
            Connections,
            _groupProvider,
            webSockets,
            new EventStreamHandler(Connections, lifecycle),
            refusal,
            _loggerFactory);
    }

    /// <summary>
    /// Returns the compression settings of an endpoint. Null without compression. Endpoints with the same threshold
    /// share the settings, so that clients of all these endpoints can receive the same compressed frames.
    /// </summary>
    CompressionSettings? GetCompression(BroadcastEndpointOptions options) =>
        options.CompressMessagesAbove is { } threshold
            ? _compressions.GetOrAdd(threshold, static threshold => new(threshold))
            : null;

    OriginCheck CreateOriginCheck(BroadcastEndpointOptions options) =>
        new(options.AllowedOrigins, options.IsOriginAllowed, IsDevelopment);

    public void Dispose()
    {
        // If the app disposes the host but does not stop it first, handed-over connections are still open.
        Connections.AbortAll();
        Connections.Dispose();
        Heartbeat.Dispose();
        Cluster?.Dispose();
        _tracing.Dispose();
    }
}
