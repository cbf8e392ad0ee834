namespace Broadcast.Middleware.Presence;

/// <summary>A group member in the directory of the cluster.</summary>
/// <param name="Member">The member.</param>
/// <param name="SetAt">The time of the last state change, by the clock of the node that has the member.</param>
/// <param name="IsLocal">True if the member is connected to this node.</param>
readonly record struct RemoteMember(PresenceMember Member, DateTimeOffset SetAt, bool IsLocal);
