using Broadcast.Middleware.Dashboard.Diagnostics;
using Broadcast.Middleware.Dashboard.Figures;
using Broadcast.Middleware.Dashboard.Requests;
using Broadcast.Middleware.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Dashboard.Hosting;

/// <summary>
/// Maps the WebSocket of the dashboard. The page is a client of a separate broadcast. So the figures of the observed
/// broadcast do not contain the connections and messages of the dashboard.
/// </summary>
static class DashboardEndpoint
{
    /// <summary>The URL of the WebSocket, relative to the URL of the page.</summary>
    public const string Path = "/ws";

    const string Name = "Dashboard";
    const int MaxViewers = 100;
    const int MaxRequestsPerSecond = 20;
    const int MaxRequestBytes = 256 * 1024;

    public static void Map(
        IEndpointRouteBuilder endpoints, BroadcastInstance observed, string observedName, DashboardLogger logger)
    {
        var services = endpoints.ServiceProvider;
        var observedOptions = services.GetRequiredService<IOptionsMonitor<BroadcastOptions>>().Get(observedName);
        var options = new BroadcastOptions
        {
            MaxConnections = MaxViewers,
            MaxMessagesPerSecond = MaxRequestsPerSecond,
            MaxMessageBytes = MaxRequestBytes,
            DrainTimeout = observedOptions.DrainTimeout,
        };
        var own = services.GetRequiredService<InternalBroadcasts>().Create(Name, options, new OwnMeterFactory());
        var time = services.GetRequiredService<TimeProvider>();
        var (connections, groups) = (observed.Connections, observed.Groups);
        var nodes = new NodeList(
            services.GetBroadcastService<IBackplane>(observedName),
            observed.Cluster?.Node,
            CountConnections,
            CountGroups,
            services.GetService<IHostApplicationLifetime>(),
            time,
            logger);
        var sampler = new Sampler(
            () => new FigureReader(
                observed.Meter,
                CountConnections,
                CountGroups,
                new SlowClients(connections.All, () => observed.Heartbeat.Now),
                time),
            own.Broadcaster,
            time,
            logger);
        var queries = new GroupQueries(
            groups,
            connections.All,
            CountConnections,
            observed.Broadcaster.Connections,
            observed.Cluster is null ? null : observed.Presence,
            time);
        var handler = new RequestHandler(observed.Broadcaster, queries, nodes, logger);
        var hello = new HelloFactory(observedName, observedOptions.MaxBacklogBytes, nodes.OwnName, nodes.IsCluster);
        var filter = new ViewerFilter(sampler, handler, hello);
        EndpointMapper.Map(
            endpoints,
            Path,
            new MappedBroadcastMetadata(
                nameof(BroadcastDashboardEndpointRouteBuilderExtensions.MapBroadcastDashboard), Name),
            (route, hosts, endpointFilters) => own.CreateEndpoint(
                route, hosts, own.CreateEndpointOptions(), [filter, .. endpointFilters]));

        int CountConnections() => connections.Count;

        int CountGroups() => GroupCount.Get(groups);
    }
}
