using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Security.Claims;

namespace Broadcast.Middleware.Testing;

/// <summary>A connection for unit tests. The connection has no client.</summary>
[SuppressMessage("Reliability", "CA1001", Justification = "The token source has no timer, so it holds no resources.")]
public sealed class TestConnection : IBroadcastConnection
{
    static int _lastId;

    readonly Lock _gate = new();
    readonly HashSet<string> _groups = new(StringComparer.Ordinal);
    readonly CancellationTokenSource _aborted = new();

    /// <summary>The ID. Default: <c>connection-1</c>, <c>connection-2</c> and so on.</summary>
    public string Id { get; init; } = $"connection-{Interlocked.Increment(ref _lastId)}";

    /// <summary>The user. Default: an anonymous user. See <see cref="TestClientOptions.CreateUser"/>.</summary>
    public ClaimsPrincipal User { get; set; } = new(new ClaimsIdentity());

    /// <summary>
    /// The ID of the user: the claim <see cref="ClaimTypes.NameIdentifier"/> or <c>sub</c> of <see cref="User"/>. Null
    /// for an anonymous user. If an initializer sets this property, <see cref="User"/> becomes a user with this ID.
    /// </summary>
    public string? UserId
    {
        get => GetUserId(User);
        init => User = value is null ? new(new ClaimsIdentity()) : TestClientOptions.CreateUser(value);
    }

    /// <summary>The IP address of the client. Default: 127.0.0.1.</summary>
    public IPAddress? RemoteAddress { get; init; } = IPAddress.Loopback;

    /// <summary>The route values of the URL. Default: no values.</summary>
    public IReadOnlyDictionary<string, object?> RouteValues { get; init; } = new Dictionary<string, object?>();

    /// <summary>The group of the URL. Default: <c>/ws</c>.</summary>
    public string HomeGroup { get; init; } = "/ws";

    /// <inheritdoc />
    public IReadOnlyCollection<string> Groups
    {
        get
        {
            lock (_gate) return [.. _groups];
        }
    }

    /// <summary>The time at which the client connected. Default: 2000-01-01 00:00 UTC.</summary>
    public DateTimeOffset ConnectedAt { get; init; } = new(2000, 1, 1, 0, 0, 0, TimeSpan.Zero);

    /// <inheritdoc />
    public IDictionary<object, object?> Items { get; } = new Dictionary<object, object?>();

    /// <summary>Canceled after <see cref="Abort"/>.</summary>
    public CancellationToken ConnectionAborted => _aborted.Token;

    /// <summary>Simulates the end of the connection: cancels <see cref="ConnectionAborted"/>.</summary>
    public void Abort() => _aborted.Cancel();

    internal static string? GetUserId(ClaimsPrincipal user) =>
        user.FindFirstValue(ClaimTypes.NameIdentifier) ?? user.FindFirstValue("sub");

    internal void Add(string group)
    {
        lock (_gate) _groups.Add(group);
    }

    internal void Remove(string group)
    {
        lock (_gate) _groups.Remove(group);
    }
}
