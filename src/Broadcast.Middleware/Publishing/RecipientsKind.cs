namespace Broadcast.Middleware;

/// <summary>The kinds of <see cref="Recipients"/>.</summary>
public enum RecipientsKind
{
    /// <summary>Every connection of the broadcast.</summary>
    All,

    /// <summary>The members of one group.</summary>
    Group,

    /// <summary>The members of several groups.</summary>
    Groups,

    /// <summary>The connections of one user.</summary>
    User,

    /// <summary>One connection.</summary>
    Connection,
}
