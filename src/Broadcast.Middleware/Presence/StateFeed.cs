namespace Broadcast.Middleware.Presence;

/// <summary>
/// Sends the presence states of one group to subscribers. Each protocol has its own derived class, because the protocol
/// defines the JSON.
/// </summary>
/// <param name="snapshotHead">See <see cref="MemberFeed"/>.</param>
/// <param name="updateHead">See <see cref="MemberFeed"/>.</param>
abstract class StateFeed(string snapshotHead, string updateHead)
    : MemberFeed(snapshotHead, updateHead, isReady: true)
{
    /// <summary>Sets the state of a member. The calls for one connection never overlap.</summary>
    /// <param name="connectionId">The ID of the member.</param>
    /// <param name="userId">The ID of the user. Null for an anonymous client.</param>
    /// <param name="state">The state. Empty if the member no longer has a state.</param>
    /// <param name="at">The time of the change.</param>
    public abstract void Set(string connectionId, string? userId, ReadOnlyMemory<byte> state, DateTimeOffset at);
}
