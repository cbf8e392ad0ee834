namespace Broadcast.Middleware.Testing.Wire;

/// <param name="Type">The name of the event, or <c>message</c> if the event has no name.</param>
/// <param name="Data">The data lines, joined with line feeds.</param>
/// <param name="Id">The last event ID at the time of dispatch. An earlier event may have set this ID.</param>
/// <param name="HasOwnId">True if the event itself has an ID.</param>
sealed record ServerEvent(string Type, string Data, string Id, bool HasOwnId)
{
    public override string ToString()
    {
        var data = Data.Length > 100 ? Data[..100] + "…" : Data;
        return $"{Type} {Id}{(HasOwnId ? "" : " (not its own)")}: {data}";
    }
}
