using System.Net;
using System.Net.Sockets;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// Limits the number of connections in total, per user and per address. The server checks the limits before it upgrades
/// a request.
/// </summary>
/// <param name="maxConnections">See <see cref="BroadcastOptions.MaxConnections"/>.</param>
/// <param name="maxPerUser">See <see cref="BroadcastOptions.MaxConnectionsPerUser"/>.</param>
/// <param name="maxPerAddress">See <see cref="BroadcastOptions.MaxConnectionsPerAddress"/>.</param>
sealed class ConnectionLimits(int? maxConnections, int? maxPerUser, int? maxPerAddress)
{
    readonly Dictionary<string, int> _byUser = new(StringComparer.Ordinal);
    readonly Dictionary<IPAddress, int> _byAddress = [];
    readonly Lock _gate = new();
    int _count;

    /// <summary>
    /// Counts a connection. If the connection would exceed a limit, the method returns this limit and counts nothing.
    /// </summary>
    /// <param name="userId">
    /// The ID of the user. Null for an anonymous client. Anonymous clients have no limit per user.
    /// </param>
    /// <param name="address">See <see cref="GetCountedAddress"/>.</param>
    public RefusalReason Enter(string? userId, IPAddress? address)
    {
        lock (_gate)
        {
            if (_count >= maxConnections) return RefusalReason.MaxConnections;
            if (IsFull(_byUser, userId, maxPerUser)) return RefusalReason.MaxConnectionsPerUser;
            if (IsFull(_byAddress, address, maxPerAddress)) return RefusalReason.MaxConnectionsPerAddress;
            Change(userId, address, 1);
            return RefusalReason.None;
        }
    }

    /// <summary>Reverts <see cref="Enter"/>.</summary>
    public void Leave(string? userId, IPAddress? address)
    {
        lock (_gate) Change(userId, address, -1);
    }

    /// <summary>Counts a connection for another user. Returns false if that user has reached the limit.</summary>
    public bool TryChangeUser(string? from, string? to)
    {
        lock (_gate)
        {
            if (IsFull(_byUser, to, maxPerUser)) return false;
            if (maxPerUser is null) return true;
            Add(_byUser, from, -1);
            Add(_byUser, to, 1);
            return true;
        }
    }

    /// <summary>
    /// Counts a connection for a new address, without a check of the limit. A client whose address has changed must be
    /// able to reconnect.
    /// </summary>
    public void Move(IPAddress? from, IPAddress? to)
    {
        lock (_gate)
        {
            Add(_byAddress, from, -1);
            Add(_byAddress, to, 1);
        }
    }

    /// <summary>
    /// Returns the address to count: an IPv4 address, or the first 64 bits of an IPv6 address. An internet provider
    /// usually assigns these 64 bits to one customer. Returns null if the address is unknown or there is no limit per
    /// address.
    /// </summary>
    public IPAddress? GetCountedAddress(IPAddress? remote)
    {
        if (maxPerAddress is null || remote is null) return null;
        if (remote.IsIPv4MappedToIPv6) return remote.MapToIPv4();
        if (remote.AddressFamily != AddressFamily.InterNetworkV6) return remote;
        var bytes = remote.GetAddressBytes();
        bytes.AsSpan(8).Clear();
        return new IPAddress(bytes);
    }

    void Change(string? userId, IPAddress? address, int change)
    {
        _count += change;
        if (maxPerUser is not null) Add(_byUser, userId, change);
        Add(_byAddress, address, change);
    }

    /// <summary>
    /// True if the count of a key has reached the limit. Always false for a null key or a null limit.
    /// </summary>
    public static bool IsFull<TKey>(Dictionary<TKey, int> counts, TKey? key, int? limit) where TKey : class =>
        key is not null && counts.GetValueOrDefault(key) >= limit;

    /// <summary>Changes the count of a key. Removes the key when the count becomes 0.</summary>
    public static void Add<TKey>(Dictionary<TKey, int> counts, TKey? key, int change) where TKey : class
    {
        if (key is null) return;
        var count = counts.GetValueOrDefault(key) + change;
        if (count == 0) counts.Remove(key);
        else counts[key] = count;
    }
}
