using System.Security.Claims;

namespace Broadcast.Middleware.Testing;

/// <summary>An extended authentication that a <see cref="RecordingBroadcaster"/> recorded.</summary>
public sealed class RecordedAuthentication : IEquatable<RecordedAuthentication>
{
    internal RecordedAuthentication(string connectionId, ClaimsPrincipal user, DateTimeOffset? expires) =>
        (ConnectionId, User, Expires) = (connectionId, user, expires);

    /// <summary>The ID of the connection.</summary>
    public string ConnectionId { get; }

    /// <summary>The new user.</summary>
    public ClaimsPrincipal User { get; }

    /// <summary>The time at which the authentication expires. Null if the authentication never expires.</summary>
    public DateTimeOffset? Expires { get; }

    /// <summary>
    /// True if all values are equal. The users must be the same object, because <see cref="ClaimsPrincipal"/> has no
    /// value equality.
    /// </summary>
    public bool Equals(RecordedAuthentication? other) => other is not null
        && ConnectionId == other.ConnectionId && User.Equals(other.User) && Expires == other.Expires;

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as RecordedAuthentication);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(ConnectionId, User, Expires);

    /// <summary>Returns a text for assertion messages and debuggers.</summary>
    public override string ToString()
    {
        var expiration = Expires is { } expires ? $"until {expires:u}" : "without an expiration";
        return $"extend the authentication of {ConnectionId} {expiration}";
    }
}
