namespace Broadcast.Middleware.Connections;

/// <summary>Observes the memberships of connections. Calls for one connection come one after the other.</summary>
interface IMembershipObserver
{
    void OnJoined(Connection connection, string group);

    void OnLeft(Connection connection, string group);
}
