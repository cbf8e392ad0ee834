namespace Broadcast.Middleware;

/// <summary>
/// Decides which groups clients may join and publish to by themselves, where their protocol lets them ask. Without one, a client may publish to the
/// group of its own URL, and nothing else.
/// </summary>
/// <remarks>Register one as a service, keyed by the broadcast's name for one that has a name. What the app does itself is not asked.</remarks>
public interface IGroupAuthorizer
{
    /// <summary>Whether a client may do so. Called for each request, so an answer that takes long should be kept.</summary>
    /// <param name="connection">The client's connection.</param>
    /// <param name="group">The group's name.</param>
    /// <param name="operation">What it wants to do.</param>
    ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation);
}

/// <summary>What a client can want of a group.</summary>
public enum GroupOperation
{
    /// <summary>To hear what is published to it.</summary>
    Join,

    /// <summary>To publish to it.</summary>
    Publish,
}
