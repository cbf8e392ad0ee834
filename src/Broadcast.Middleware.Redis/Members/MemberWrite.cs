namespace Broadcast.Middleware.Redis.Members;

/// <summary>One write of a group's members.</summary>
/// <param name="DeletesFirst">True if the write first deletes the group's members of this node.</param>
/// <param name="ExpectedCount">
/// The number of members that Redis must have after the write. Null if the write does not check the number.
/// </param>
/// <param name="Changes">The changed members. The value of a removed member is null.</param>
readonly record struct MemberWrite(
    bool DeletesFirst, int? ExpectedCount, List<KeyValuePair<string, byte[]?>> Changes);
