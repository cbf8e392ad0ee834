namespace Broadcast.Middleware;

/// <summary>The kinds of <see cref="Recipients"/>.</summary>
public enum RecipientsKind
{
    /// <summary>Every connection of the broadcast: see <see cref="Recipients.Everyone"/>.</summary>
    Everyone,

    /// <summary>The members of one group.</summary>
    Group,

    /// <summary>The members of several groups.</summary>
    Groups,

    /// <summary>The connections of one user.</summary>
    User,

    /// <summary>One connection.</summary>
    Connection,
}
