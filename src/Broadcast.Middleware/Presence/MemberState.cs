namespace Broadcast.Middleware.Presence;

/// <summary>The presence state of a member of this node.</summary>
/// <param name="UserId">The ID of the user. Null for an anonymous client.</param>
/// <param name="Bytes">The state.</param>
/// <param name="SetAt">The time of the change.</param>
/// <param name="IsSetByApp">True if the app has set the state. The client then cannot change the state.</param>
readonly record struct MemberState(string? UserId, byte[] Bytes, DateTimeOffset SetAt, bool IsSetByApp);
