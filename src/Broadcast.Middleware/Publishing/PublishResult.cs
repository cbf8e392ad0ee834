namespace Broadcast.Middleware;

/// <summary>What a publish came to.</summary>
/// <param name="Position">Where the message stands in its group; null if no group took it.</param>
/// <param name="LocalRecipients">
/// How many connections of this node it is for; of several groups, how many memberships. They will get it, or be told, by the end of
/// their connection, that they did not.
/// </param>
public readonly record struct PublishResult(Position? Position, int LocalRecipients);
