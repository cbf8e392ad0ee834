using System.Net;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Connections;

/// <summary>Detects that a connected Redis server has become a master.</summary>
/// <remarks>
/// StackExchange.Redis stays connected to the replicas. A failover makes a replica the new master. StackExchange.Redis
/// then raises no event, because the connection to this server already exists.
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
    /// True if the event is about the connection that sends commands to a master. This method treats an unknown server
    /// as a master.
    /// </summary>
    public static bool IsMaster(object? sender, ConnectionFailedEventArgs args) =>
        args.ConnectionType == ConnectionType.Interactive
        && (args.EndPoint is not { } endPoint
            || sender is not IConnectionMultiplexer multiplexer
            || !multiplexer.GetServers().Any(server => server.IsReplica && endPoint.Equals(server.EndPoint)));
}
