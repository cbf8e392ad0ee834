namespace Broadcast.Middleware.Connections;

/// <summary>Observes the connections of this node. The cluster uses it to tell other nodes about them.</summary>
interface IConnectionObserver
{
    void OnAdded(Connection connection);

    void OnRemoved(Connection connection);
}
