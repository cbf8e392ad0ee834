namespace Broadcast.Middleware.Testing.Wire;

/// <summary>The HTTP response to a handshake.</summary>
sealed record HttpAnswer(int Status, IReadOnlyDictionary<string, string> Headers, string Body)
{
    public string? this[string header] => Headers.GetValueOrDefault(header);
}
