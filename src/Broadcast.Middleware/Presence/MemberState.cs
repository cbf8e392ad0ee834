namespace Broadcast.Middleware.Presence;

/// <summary>The presence state of a member of this node.</summary>
readonly record struct MemberState(string? UserId, byte[] Bytes, DateTimeOffset SetAt);
