namespace Broadcast.Middleware.Tests.Support;

/// <summary>A wrapper of the default registry. A test can change the results of calls, or let the calls throw.</summary>
sealed class FaultyRegistry : IConnectionRegistry
{
    readonly ConnectionRegistry _inner = new();

    public Func<IBroadcastConnection, bool> OnAdd { get; set; } = static _ => true;
    public Action<IBroadcastConnection> OnRemove { get; set; } = static _ => { };
    public Func<IBroadcastConnection, string, bool> OnJoin { get; set; } = static (_, _) => true;
    public Func<IEnumerable<IBroadcastConnection>, IEnumerable<IBroadcastConnection>> OnFind { get; set; } = static found => found;

    public int Count => _inner.Count;
    public IEnumerable<IBroadcastConnection> Connections => _inner.Connections;

    public bool TryAdd(IBroadcastConnection connection) => OnAdd(connection) && _inner.TryAdd(connection);

    public bool Remove(IBroadcastConnection connection)
    {
        var removed = _inner.Remove(connection);
        OnRemove(connection);
        return removed;
    }

    public bool TryJoin(IBroadcastConnection connection, string group) => OnJoin(connection, group) && _inner.TryJoin(connection, group);
    public bool Leave(IBroadcastConnection connection, string group) => _inner.Leave(connection, group);
    public IBroadcastConnection? Find(string connectionId) => _inner.Find(connectionId);
    public IEnumerable<IBroadcastConnection> GetUserConnections(string userId) => OnFind(_inner.GetUserConnections(userId));
    public IEnumerable<IBroadcastConnection> GetGroupMembers(string group) => OnFind(_inner.GetGroupMembers(group));
    public int CountGroupMembers(string group) => _inner.CountGroupMembers(group);
}
