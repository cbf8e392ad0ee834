namespace Broadcast.Middleware.Logs;

/// <summary>
/// One copy of a message that was published to several groups. In a cluster, the copies of the message arrive one by
/// one. A reader of several of these groups takes only the first copy.
/// </summary>
/// <param name="Id">The number that all copies of the message share on this node.</param>
/// <param name="LogName">The name of the log that contains this copy.</param>
/// <param name="Position">The position of this copy.</param>
/// <param name="Earlier">The copy that arrived before this copy, in any log. Null for the first copy.</param>
sealed record EntryCopy(long Id, string LogName, Position Position, EntryCopy? Earlier);
