namespace Broadcast.Middleware.Testing.Wire;

sealed class TransportEndedException(TransportEnd end) : IOException($"The server has ended the transport: {end}.")
{
    public TransportEnd End { get; } = end;
}
