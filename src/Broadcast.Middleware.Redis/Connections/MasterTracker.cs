using System.Net;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Connections;

/// <summary>Finds out when a node begins to use another master.</summary>
/// <remarks>
/// StackExchange.Redis stays connected to the replicas. So after a failover, the new master raises no event, because
/// its connection is not new.
/// </remarks>
sealed class MasterTracker
{
    readonly Lock _lock = new();
    HashSet<EndPoint> _known = [];

    /// <summary>True if a connected server has become a master since the last call.</summary>
    public bool HasNewMaster(IConnectionMultiplexer multiplexer)
    {
        var masters = multiplexer.GetServers().Where(static server => !server.IsReplica).ToArray();
        lock (_lock)
        {
            var isNew = masters.Any(master => master.IsConnected && !_known.Contains(master.EndPoint));
            _known = [.. masters.Select(static master => master.EndPoint)];
            return isNew;
        }
    }

    /// <summary>
    /// True if the event belongs to the connection that sends commands to a master. An unknown server counts as a
    /// master.
    /// </summary>
    public static bool IsMaster(object? sender, ConnectionFailedEventArgs args) =>
        args.ConnectionType == ConnectionType.Interactive
        && (args.EndPoint is not { } endPoint
            || sender is not IConnectionMultiplexer multiplexer
            || !multiplexer.GetServers().Any(server => server.IsReplica && endPoint.Equals(server.EndPoint)));
}
