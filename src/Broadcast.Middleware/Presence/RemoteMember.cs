namespace Broadcast.Middleware.Presence;

/// <summary>A group member in the directory of the cluster.</summary>
/// <param name="Member">The member.</param>
/// <param name="SetAt">The time of its last state change, by the clock of its node.</param>
/// <param name="IsLocal">True if the member is connected to this node.</param>
readonly record struct RemoteMember(PresenceMember Member, DateTimeOffset SetAt, bool IsLocal);
