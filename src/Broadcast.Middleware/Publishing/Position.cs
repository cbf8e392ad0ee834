namespace Broadcast.Middleware;

/// <summary>A message's place in its group.</summary>
/// <param name="Epoch">Names one life of the group's log. Offsets of different epochs have nothing to do with each other.</param>
/// <param name="Offset">1 for the first message of the epoch, and one more for each that follows.</param>
public readonly record struct Position(ulong Epoch, long Offset);
