namespace Broadcast.Middleware;

/// <summary>The kinds of <see cref="PresenceChange"/>.</summary>
public enum PresenceChangeKind
{
    /// <summary>The member has joined the group.</summary>
    Joined,

    /// <summary>The state of the member has changed.</summary>
    StateChanged,

    /// <summary>The member has left the group.</summary>
    Left,
}
