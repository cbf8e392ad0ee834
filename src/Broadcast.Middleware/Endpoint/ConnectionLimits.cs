using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>Counts connections before they are upgraded, which the server's own limits do not do for all of them.</summary>
sealed class ConnectionLimits(BroadcastOptions options)
{
    readonly Dictionary<string, int> _byUser = new(StringComparer.Ordinal);
    readonly Dictionary<IPAddress, int> _byAddress = [];
    readonly Lock _gate = new();
    int _count;

    /// <summary>Counts a connection in, or says which limit it would exceed.</summary>
    /// <param name="userId">Null if anonymous, and then not limited by user.</param>
    /// <param name="address">See <see cref="AddressOf"/>.</param>
    public RefusalReason Enter(string? userId, IPAddress? address)
    {
        lock (_gate)
        {
            if (_count >= options.MaxConnections) return RefusalReason.MaxConnections;
            if (IsFull(_byUser, userId, options.MaxConnectionsPerUser)) return RefusalReason.MaxConnectionsPerUser;
            if (IsFull(_byAddress, address, options.MaxConnectionsPerAddress)) return RefusalReason.MaxConnectionsPerAddress;
            Change(userId, address, 1);
            return RefusalReason.None;
        }
    }

    /// <summary>Counts out what was counted in.</summary>
    public void Leave(string? userId, IPAddress? address)
    {
        lock (_gate) Change(userId, address, -1);
    }

    /// <summary>
    /// What counts as one address: an IPv4 address, or an IPv6 network of 64 bits, which is what one subscriber has. Null where
    /// there is none, or no limit for it.
    /// </summary>
    public IPAddress? AddressOf(HttpContext context)
    {
        // Not asked for otherwise: the context would keep it for as long as the connection lasts.
        if (options.MaxConnectionsPerAddress is null || context.Connection.RemoteIpAddress is not { } remote) return null;
        if (remote.IsIPv4MappedToIPv6) return remote.MapToIPv4();
        if (remote.AddressFamily != AddressFamily.InterNetworkV6) return remote;
        var bytes = remote.GetAddressBytes();
        bytes.AsSpan(8).Clear();
        return new IPAddress(bytes);
    }

    void Change(string? userId, IPAddress? address, int change)
    {
        _count += change;
        if (options.MaxConnectionsPerUser is not null) Add(_byUser, userId, change);
        Add(_byAddress, address, change);
    }

    /// <summary>Whether as many are counted under a key as may be; null is no key, and no limit none.</summary>
    public static bool IsFull<TKey>(Dictionary<TKey, int> counts, TKey? key, int? limit) where TKey : class =>
        key is not null && counts.GetValueOrDefault(key) >= limit;

    /// <summary>Changes the count under a key, and forgets one that is 0.</summary>
    public static void Add<TKey>(Dictionary<TKey, int> counts, TKey? key, int change) where TKey : class
    {
        if (key is null) return;
        var count = counts.GetValueOrDefault(key) + change;
        if (count == 0) counts.Remove(key);
        else counts[key] = count;
    }
}
