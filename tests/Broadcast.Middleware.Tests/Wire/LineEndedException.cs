namespace Broadcast.Middleware.Tests.Wire;

sealed class LineEndedException(LineEnd end) : IOException($"The server has ended the transport: {end}.")
{
    public LineEnd End { get; } = end;
}
