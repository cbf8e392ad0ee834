namespace Broadcast.Middleware.Tests.Support;

/// <summary>A wrapper of the default registry. A test can change the results of calls, or let the calls throw.</summary>
sealed class FaultyRegistry : IConnectionRegistry
{
    public ConnectionRegistry Inner { get; } = new();

    public Func<IBroadcastConnection, bool> OnAdd { get; set; } = static _ => true;
    public Action<IBroadcastConnection> OnRemove { get; set; } = static _ => { };
    public Func<IBroadcastConnection, string, bool> OnJoin { get; set; } = static (_, _) => true;
    public Action<IBroadcastConnection, string> OnLeave { get; set; } = static (_, _) => { };
    public Func<IEnumerable<IBroadcastConnection>, IEnumerable<IBroadcastConnection>> OnFind { get; set; } = static found => found;

    public int Count => Inner.Count;
    public IEnumerable<IBroadcastConnection> Connections => Inner.Connections;

    public bool TryAdd(IBroadcastConnection connection) => OnAdd(connection) && Inner.TryAdd(connection);

    public bool Remove(IBroadcastConnection connection)
    {
        var removed = Inner.Remove(connection);
        OnRemove(connection);
        return removed;
    }

    public bool TryJoin(IBroadcastConnection connection, string group) => OnJoin(connection, group) && Inner.TryJoin(connection, group);

    public bool Leave(IBroadcastConnection connection, string group)
    {
        var left = Inner.Leave(connection, group);
        OnLeave(connection, group);
        return left;
    }

    public IBroadcastConnection? Find(string connectionId) => Inner.Find(connectionId);
    public IEnumerable<IBroadcastConnection> GetUserConnections(string userId) => OnFind(Inner.GetUserConnections(userId));
    public IEnumerable<IBroadcastConnection> GetGroupMembers(string group) => OnFind(Inner.GetGroupMembers(group));
    public int CountGroupMembers(string group) => Inner.CountGroupMembers(group);
}
