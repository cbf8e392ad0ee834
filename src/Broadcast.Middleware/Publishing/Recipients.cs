namespace Broadcast.Middleware;

/// <summary>Whom a message is for.</summary>
/// <remarks>The default value is <see cref="All"/>.</remarks>
public readonly struct Recipients : IEquatable<Recipients>
{
    readonly object? _name; // A name, or several.
    readonly Exclusions? _exclusions;

    Recipients(RecipientsKind kind, object? name, Exclusions? exclusions) => (Kind, _name, _exclusions) = (kind, name, exclusions);

    /// <summary>Every connection of the broadcast, whichever URL it came through.</summary>
    public static Recipients All => default;

    /// <summary>What kind of target this is.</summary>
    public RecipientsKind Kind { get; }

    /// <summary>The group's name, the user's id or the connection's id; null for all, and for several groups.</summary>
    public string? Name => _name as string;

    /// <summary>The groups' names, each once and in ordinal order, or the one name; empty for all.</summary>
    public IReadOnlyCollection<string> Names => _name switch { string name => [name], string[] names => names, _ => [] };

    /// <summary>The ids of connections that do not get the message though they are among the recipients; empty by default.</summary>
    public IReadOnlyCollection<string> Excluded => _exclusions?.ConnectionIds ?? [];

    internal Exclusions? Exclusions => _exclusions;

    /// <summary>The members of a group. The group of a URL has its path as name: <c>/ws</c>, <c>/rooms/blue</c>.</summary>
    /// <param name="name">1 to 255 characters, none of them a control character.</param>
    /// <exception cref="ArgumentException">The name is not a group's name.</exception>
    public static Recipients Group(string name)
    {
        GroupName.ThrowIfInvalid(name);
        return new(RecipientsKind.Group, name, null);
    }

    /// <summary>The members of several groups. Who is in more than one of them gets the message once.</summary>
    /// <param name="names">As for <see cref="Group"/>; empty for nobody.</param>
    /// <exception cref="ArgumentException">One of them is not a group's name.</exception>
    public static Recipients Groups(params IReadOnlyCollection<string> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        var each = names.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToArray();
        foreach (var name in each) GroupName.ThrowIfInvalid(name, nameof(names));
        return new(RecipientsKind.Groups, each, null);
    }

    /// <summary>A user, on every device from which they are connected.</summary>
    /// <param name="userId">As in <see cref="IBroadcastConnection.UserId"/>.</param>
    /// <exception cref="ArgumentException">The id is null or empty.</exception>
    public static Recipients User(string userId)
    {
        ArgumentException.ThrowIfNullOrEmpty(userId);
        return new(RecipientsKind.User, userId, null);
    }

    /// <summary>One connection.</summary>
    /// <param name="connectionId">As in <see cref="IBroadcastConnection.Id"/>.</param>
    /// <exception cref="ArgumentException">The id is null or empty.</exception>
    public static Recipients Connection(string connectionId)
    {
        ArgumentException.ThrowIfNullOrEmpty(connectionId);
        return new(RecipientsKind.Connection, connectionId, null);
    }

    /// <summary>The same recipients without some connections. Exclusions add up.</summary>
    /// <param name="connectionIds">Ids of connections, as in <see cref="IBroadcastConnection.Id"/>; ids of none are ignored.</param>
    /// <exception cref="ArgumentException">One of them is null or empty.</exception>
    public Recipients Except(params IReadOnlyCollection<string> connectionIds)
    {
        ArgumentNullException.ThrowIfNull(connectionIds);
        if (connectionIds.Count == 0) return this;
        if (connectionIds.Any(string.IsNullOrEmpty)) throw new ArgumentException("An id is null or empty.", nameof(connectionIds));
        var exclusions = new Exclusions(_exclusions is null ? connectionIds : [.. _exclusions.ConnectionIds, .. connectionIds]);
        return new(Kind, _name, exclusions);
    }

    internal Recipients Except(Exclusions exclusions) =>
        _exclusions is null ? new(Kind, _name, exclusions) : Except(exclusions.ConnectionIds);

    /// <inheritdoc />
    public bool Equals(Recipients other) =>
        Kind == other.Kind && Names.SequenceEqual(other.Names) && Excluded.Count == other.Excluded.Count && Excluded.All(other.Excluded.Contains);

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is Recipients other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Kind, Name, Names.Count, Excluded.Count);

    /// <summary>Whether both mean the same connections.</summary>
    public static bool operator ==(Recipients left, Recipients right) => left.Equals(right);

    /// <summary>Whether they differ.</summary>
    public static bool operator !=(Recipients left, Recipients right) => !left.Equals(right);

    /// <summary>For logs and debuggers.</summary>
    public override string ToString() => Kind == RecipientsKind.All ? "all" : $"{Kind.ToString().ToLowerInvariant()} '{string.Join("', '", Names)}'";
}
