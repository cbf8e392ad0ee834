namespace Broadcast.Middleware.Tests.Support;

/// <summary>A simple registry with one lock around its dictionaries. The registry is correct, unless a test selects one mistake.</summary>
sealed class SampleRegistry(RegistryMistake mistake = RegistryMistake.None) : IConnectionRegistry
{
    readonly Dictionary<string, IBroadcastConnection> _connections = [];
    readonly Dictionary<string, Dictionary<object, IBroadcastConnection>> _groups = [];
    readonly object _gate = new();

    public int Count => Locked(() => _connections.Count);

    public IEnumerable<IBroadcastConnection> Connections =>
        mistake == RegistryMistake.ListsTheLiveCollection ? _connections.Values : Locked(() => _connections.Values.ToArray());

    public bool TryAdd(IBroadcastConnection connection) => Locked(() =>
    {
        var added = _connections.TryAdd(connection.Id, connection);
        return added || mistake == RegistryMistake.AddsTwice;
    });

    public bool Remove(IBroadcastConnection connection) => Locked(() =>
    {
        if (!_connections.Remove(connection.Id)) return mistake == RegistryMistake.RemovesTwice;
        if (mistake == RegistryMistake.KeepsMemberships) return true;
        foreach (var group in _groups.Keys.ToArray()) LeaveCore(connection, group);
        return true;
    });

    public bool TryJoin(IBroadcastConnection connection, string group)
    {
        if (mistake != RegistryMistake.JoinsAfterStaleCheck) return Locked(() => JoinCore(connection, group));
        if (Locked(() => !_connections.ContainsKey(connection.Id) || (_groups.TryGetValue(group, out var members) && members.ContainsKey(KeyOf(connection))))) return false;
        Thread.Yield();
        Locked(() => JoinCore(connection, group));
        return true;
    }

    bool JoinCore(IBroadcastConnection connection, string group)
    {
        if (mistake != RegistryMistake.LetsUnknownConnectionsJoin && !_connections.ContainsKey(connection.Id)) return false;
        if (!_groups.TryGetValue(group, out var members)) _groups.Add(group, members = []);
        var added = members.TryAdd(KeyOf(connection), _connections.GetValueOrDefault(connection.Id, connection));
        return added || mistake == RegistryMistake.JoinsTwice;
    }

    public bool Leave(IBroadcastConnection connection, string group) => Locked(() => LeaveCore(connection, group));

    public IBroadcastConnection? Find(string connectionId) => Locked(() => _connections.GetValueOrDefault(connectionId));

    public IEnumerable<IBroadcastConnection> GetUserConnections(string userId) => Locked(() =>
    {
        var found = _connections.Values.Where(connection => connection.UserId == userId).ToArray();
        return mistake == RegistryMistake.FindsOneDevice ? found.Take(1).ToArray() : found;
    });

    public IEnumerable<IBroadcastConnection> GetGroupMembers(string group) =>
        Locked(() => _groups.TryGetValue(group, out var members) ? members.Values.ToArray() : []);

    public int CountGroupMembers(string group) => Locked(() => _groups.TryGetValue(group, out var members) ? members.Count : 0);

    bool LeaveCore(IBroadcastConnection connection, string group)
    {
        if (!_groups.TryGetValue(group, out var members) || !members.Remove(KeyOf(connection))) return false;
        if (members.Count == 0 && mistake != RegistryMistake.KeepsEmptyGroups) _groups.Remove(group);
        return true;
    }

    object KeyOf(IBroadcastConnection connection) => mistake == RegistryMistake.ComparesObjects ? connection : connection.Id;

    T Locked<T>(Func<T> act)
    {
        lock (_gate) return act();
    }
}

public enum RegistryMistake
{
    None,
    AddsTwice,
    RemovesTwice,
    JoinsTwice,
    LetsUnknownConnectionsJoin,
    KeepsMemberships,
    FindsOneDevice,
    ListsTheLiveCollection,
    KeepsEmptyGroups,
    JoinsAfterStaleCheck,
    ComparesObjects,
}
