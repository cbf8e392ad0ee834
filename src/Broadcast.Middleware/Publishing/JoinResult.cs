namespace Broadcast.Middleware;

/// <summary>What a join came to.</summary>
/// <param name="Joined">False if there is no such connection, it is a member already, or the registry refuses it.</param>
/// <param name="Recovered">
/// Where everything after a position was asked for: whether the connection gets all of it, as far as the group's
/// <see cref="SlowConsumer"/> spares it nothing. Null where it was not asked for.
/// </param>
/// <param name="Position">The message after which the connection hears everything; null if it has not joined.</param>
public readonly record struct JoinResult(bool Joined, bool? Recovered, Position? Position);
