namespace Broadcast.Middleware;

/// <summary>Somebody has joined a group, left it, or has another state in it.</summary>
/// <param name="Kind">Which of these.</param>
/// <param name="Member">Who; of one who has left, as last told.</param>
public sealed record PresenceChange(PresenceChangeKind Kind, PresenceMember Member);

/// <summary>The kinds of <see cref="PresenceChange"/>.</summary>
public enum PresenceChangeKind
{
    /// <summary>Is in the group now.</summary>
    Joined,

    /// <summary>Has another state.</summary>
    StateChanged,

    /// <summary>Is in the group no more.</summary>
    Left,
}
