using System.Collections.Concurrent;

namespace Broadcast.Middleware.Connections;

/// <summary>The default registry. This registry stores connections in memory and accepts every connection.</summary>
/// <remarks>
/// An app can wrap this registry and pass a new object for each call. So the registry lists only the object that
/// <see cref="TryAdd"/> received, and identifies this object by its ID.
/// </remarks>
sealed class ConnectionRegistry : IConnectionRegistry
{
    readonly ConcurrentDictionary<string, Entry> _entries = new(StringComparer.Ordinal);
    readonly Index _groups = new();
    readonly Index _users = new();
    int _count;

    public int Count => Volatile.Read(ref _count);

    public IEnumerable<IBroadcastConnection> Connections
    {
        get
        {
            foreach (var (_, entry) in _entries) yield return entry.Connection;
        }
    }

    public bool TryAdd(IBroadcastConnection connection)
    {
        var entry = new Entry(connection);
        lock (entry)
        {
            if (!_entries.TryAdd(connection.Id, entry)) return false;
            Interlocked.Increment(ref _count);
            if (entry.UserId is { } userId) _users.Add(userId, connection);
        }

        return true;
    }

    public bool Remove(IBroadcastConnection connection)
    {
        if (!_entries.TryRemove(connection.Id, out var entry)) return false;
        lock (entry)
        {
            // A concurrent join may already have found the entry. This flag makes the join fail.
            entry.IsRemoved = true;
            Interlocked.Decrement(ref _count);
            if (entry.UserId is { } userId) _users.Remove(userId, entry.Connection);
            foreach (var group in entry.Groups) _groups.Remove(group, entry.Connection);
        }

        return true;
    }

    public bool TryJoin(IBroadcastConnection connection, string group)
    {
        if (!_entries.TryGetValue(connection.Id, out var entry)) return false;
        lock (entry)
        {
            if (entry.IsRemoved || entry.Groups.Contains(group)) return false;
            entry.Groups = [.. entry.Groups, group];
            _groups.Add(group, entry.Connection);
        }

        return true;
    }

    public bool Leave(IBroadcastConnection connection, string group)
    {
        if (!_entries.TryGetValue(connection.Id, out var entry)) return false;
        lock (entry)
        {
            if (!entry.Groups.Contains(group)) return false;
            entry.Groups = [.. entry.Groups.Where(other => other != group)];
            _groups.Remove(group, entry.Connection);
        }

        return true;
    }

    public IBroadcastConnection? Find(string connectionId) =>
        _entries.TryGetValue(connectionId, out var entry) ? entry.Connection : null;

    public IEnumerable<IBroadcastConnection> GetUserConnections(string userId) => _users.Members(userId);

    public IEnumerable<IBroadcastConnection> GetGroupMembers(string group) => _groups.Members(group);

    public int CountGroupMembers(string group) => _groups.Count(group);

    /// <summary>A connection and its groups. A join, a leave or a removal of the connection locks the entry.</summary>
    sealed class Entry(IBroadcastConnection connection)
    {
        public IBroadcastConnection Connection { get; } = connection;

        /// <summary>The user at the time of <see cref="TryAdd"/>. The user can change later.</summary>
        public string? UserId { get; } = connection.UserId;

        public string[] Groups { get; set; } = [];
        public bool IsRemoved { get; set; }
    }

    /// <summary>A set of connections for each key. The index removes a key when its set becomes empty.</summary>
    sealed class Index
    {
        const int FirstMembers = 128;

        readonly ConcurrentDictionary<string, HashSet<IBroadcastConnection>> _sets = new(StringComparer.Ordinal);

        public void Add(string key, IBroadcastConnection connection)
        {
            while (true)
            {
                var set = _sets.GetOrAdd(key, static _ => []);
                lock (set)
                {
                    // Another thread may have removed the empty set from the index. In that case, try again.
                    if (set.Count == 0 && (!_sets.TryGetValue(key, out var current) || current != set)) continue;
                    set.Add(connection);
                    return;
                }
            }
        }

        public void Remove(string key, IBroadcastConnection connection)
        {
            if (!_sets.TryGetValue(key, out var set)) return;
            lock (set)
            {
                if (set.Remove(connection) && set.Count == 0) _sets.TryRemove(new(key, set));
            }
        }

        /// <summary>
        /// Lists a set. The set can change during the enumeration. If a caller takes fewer than 128 connections, the
        /// method does not copy the whole set.
        /// </summary>
        public IEnumerable<IBroadcastConnection> Members(string key)
        {
            if (!_sets.TryGetValue(key, out var set)) yield break;
            IBroadcastConnection[] first, others;
            lock (set) first = [.. set.Take(FirstMembers)];
            foreach (var connection in first) yield return connection;
            if (first.Length < FirstMembers) yield break;
            lock (set) others = [.. set.Except(first)];
            foreach (var connection in others) yield return connection;
        }

        public int Count(string key)
        {
            if (!_sets.TryGetValue(key, out var set)) return 0;
            lock (set) return set.Count;
        }
    }
}
