namespace Broadcast.Middleware.Connections;

/// <summary>Observes the memberships of connections. The calls for one connection never overlap.</summary>
interface IMembershipObserver
{
    void OnJoined(Connection connection, string group);

    void OnLeft(Connection connection, string group);
}
