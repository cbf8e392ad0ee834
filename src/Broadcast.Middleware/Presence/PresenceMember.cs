namespace Broadcast.Middleware;

/// <summary>A connection in a group.</summary>
/// <param name="ConnectionId">As in <see cref="IBroadcastConnection.Id"/>.</param>
/// <param name="UserId">As in <see cref="IBroadcastConnection.UserId"/>: the same for all devices of a user; null if anonymous.</param>
/// <param name="State">What <see cref="IPresence.SetStateAsync"/> has said of it; empty if nothing.</param>
public sealed record PresenceMember(string ConnectionId, string? UserId, ReadOnlyMemory<byte> State);
