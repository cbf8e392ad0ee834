namespace Broadcast.Middleware.Logs;

/// <summary>
/// One copy of a message to several groups, when the copies arrive one by one. A reader of several of these logs takes
/// the first copy.
/// </summary>
/// <param name="Id">An ID that all copies share.</param>
/// <param name="LogName">The name of the log that contains this copy.</param>
/// <param name="Position">The position of this copy.</param>
/// <param name="Earlier">The copy that arrived before this one, in any log. Null for the first copy.</param>
sealed record EntryCopy(long Id, string LogName, Position Position, EntryCopy? Earlier);
