using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware;

/// <summary>Selects the connections that receive a message.</summary>
/// <remarks>The default value is <see cref="Everyone"/>.</remarks>
public readonly struct Recipients : IEquatable<Recipients>
{
    readonly object? _names; // A string, or a string[] for several groups.

    Recipients(RecipientsKind kind, object? names, ExcludedConnections? excluded)
    {
        Kind = kind;
        _names = names;
        ExcludedConnections = excluded;
    }

    /// <summary>
    /// Selects every connection of the broadcast, at every URL. The selection also includes connections to URLs that
    /// require authorization, such as a private room. A publish that sets no recipients has the same effect.
    /// </summary>
    /// <remarks>
    /// To reach only the clients of one URL, use <see cref="Group"/>. A named broadcast, <c>AddBroadcast("name")</c>,
    /// has separate connections.
    /// </remarks>
    public static Recipients Everyone => default;

    /// <summary>The kind of the recipients: everyone, a group, several groups, a user or a connection.</summary>
    public RecipientsKind Kind { get; }

    /// <summary>The group name, user ID or connection ID. Null for all connections and for several groups.</summary>
    public string? Name => _names as string;

    /// <summary>
    /// The group names, without duplicates and in ordinal order. For a user or a connection, the collection contains
    /// only the ID. Empty for all connections.
    /// </summary>
    public IReadOnlyCollection<string> Names => _names switch
    {
        string name => [name],
        string[] names => names,
        _ => [],
    };

    /// <summary>
    /// The IDs of the excluded connections. These connections do not receive the message. Empty by default.
    /// </summary>
    public IReadOnlyCollection<string> Excluded => ExcludedConnections?.Ids ?? [];

    internal ExcludedConnections? ExcludedConnections { get; }

    /// <summary>
    /// Selects the members of a group. The path of a URL is the name of its group, for example <c>/ws</c> or
    /// <c>/rooms/blue</c>.
    /// </summary>
    /// <param name="name">The name of the group: 1 to 255 characters, without control characters.</param>
    /// <exception cref="ArgumentException">The name is not a valid group name.</exception>
    public static Recipients Group(string name)
    {
        GroupName.ThrowIfInvalid(name);
        return new(RecipientsKind.Group, name, null);
    }

    /// <summary>
    /// Selects the members of several groups. A member of more than one group receives the message once.
    /// </summary>
    /// <param name="names">
    /// The names of the groups. Each name follows the rules of <see cref="Group"/>. An empty collection selects no
    /// connection.
    /// </param>
    /// <exception cref="ArgumentException">One of the names is not a valid group name.</exception>
    public static Recipients Groups(params IReadOnlyCollection<string> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        var sorted = names.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToArray();
        foreach (var name in sorted) GroupName.ThrowIfInvalid(name, nameof(names));
        return new(RecipientsKind.Groups, sorted, null);
    }

    /// <summary>Selects all connections of a user, on all devices.</summary>
    /// <param name="userId">See <see cref="IBroadcastConnection.UserId"/>.</param>
    /// <exception cref="ArgumentException">The ID is null or empty.</exception>
    public static Recipients User(string userId)
    {
        ArgumentException.ThrowIfNullOrEmpty(userId);
        return new(RecipientsKind.User, userId, null);
    }

    /// <summary>Selects one connection.</summary>
    /// <param name="connectionId">See <see cref="IBroadcastConnection.Id"/>.</param>
    /// <exception cref="ArgumentException">The ID is null or empty.</exception>
    public static Recipients Connection(string connectionId)
    {
        ArgumentException.ThrowIfNullOrEmpty(connectionId);
        return new(RecipientsKind.Connection, connectionId, null);
    }

    /// <summary>Returns the same recipients without the given connections. Repeated calls add exclusions.</summary>
    /// <param name="connectionIds">See <see cref="IBroadcastConnection.Id"/>. Unknown IDs have no effect.</param>
    /// <exception cref="ArgumentException">One of the IDs is null or empty.</exception>
    public Recipients Except(params IReadOnlyCollection<string> connectionIds)
    {
        ArgumentNullException.ThrowIfNull(connectionIds);
        if (connectionIds.Count == 0) return this;
        if (connectionIds.Any(string.IsNullOrEmpty))
        {
            throw new ArgumentException(
                "A connection ID is null or empty. Pass only valid IDs.", nameof(connectionIds));
        }

        return Except(new ExcludedConnections(connectionIds));
    }

    internal Recipients Except(ExcludedConnections excluded) =>
        new(Kind, _names, ExcludedConnections is null ? excluded : new([.. ExcludedConnections.Ids, .. excluded.Ids]));

    /// <inheritdoc />
    public bool Equals(Recipients other) => Kind == other.Kind && Names.SequenceEqual(other.Names)
        && Excluded.Count == other.Excluded.Count && Excluded.All(other.Excluded.Contains);

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is Recipients other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Kind, Name, Names.Count, Excluded.Count);

    /// <summary>True if both values select the same connections.</summary>
    public static bool operator ==(Recipients left, Recipients right) => left.Equals(right);

    /// <summary>True if the values select different connections.</summary>
    public static bool operator !=(Recipients left, Recipients right) => !left.Equals(right);

    /// <summary>Returns a text for logs and debuggers.</summary>
    public override string ToString() => Kind == RecipientsKind.Everyone
        ? "everyone"
        : $"{Kind.ToString().ToLowerInvariant()} '{string.Join("', '", Names)}'";
}
