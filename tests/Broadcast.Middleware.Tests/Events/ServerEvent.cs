namespace Broadcast.Middleware.Tests.Events;

/// <param name="Type">The event's name; <c>message</c> if it has none.</param>
/// <param name="Data">Its data lines, with a line feed between them.</param>
/// <param name="Id">The last event id when it was dispatched, which need not be its own.</param>
/// <param name="HasOwnId">Whether it came with an id.</param>
sealed record ServerEvent(string Type, string Data, string Id, bool HasOwnId)
{
    public override string ToString() => $"{Type} {Id}{(HasOwnId ? "" : " (not its own)")}: {(Data.Length > 100 ? Data[..100] + "…" : Data)}";
}
