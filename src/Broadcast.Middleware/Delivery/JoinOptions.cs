using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>The options of a subscriber that joins a group.</summary>
/// <param name="Replay">The part of the history to send.</param>
/// <param name="Encoder">The format of the subscriber. Null for WebSocket frames.</param>
/// <param name="Opening">Bytes to send before the first message.</param>
/// <param name="KeepsUnacknowledged">
/// True if the client acknowledges messages and may need unacknowledged messages again after a reconnect.
/// </param>
readonly record struct JoinOptions(
    Replay Replay, EntryEncoder? Encoder, ReadOnlyMemory<byte> Opening, bool KeepsUnacknowledged)
{
    /// <summary>The filters of the membership.</summary>
    public MembershipFilters Filters { get; init; }

    /// <summary>
    /// The cursor of a member that gets another filter. The new cursor continues at the end of the log. Null for a new
    /// member.
    /// </summary>
    public Cursor? Replaced { get; init; }
}
