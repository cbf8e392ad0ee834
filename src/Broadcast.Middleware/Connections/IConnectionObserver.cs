namespace Broadcast.Middleware.Connections;

/// <summary>
/// Observes the connections of this node. The cluster uses an observer to inform other nodes about these connections.
/// </summary>
interface IConnectionObserver
{
    void OnAdded(Connection connection);

    void OnRemoved(Connection connection);
}
