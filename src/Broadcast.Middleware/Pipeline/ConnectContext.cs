namespace Broadcast.Middleware;

/// <summary>A connection starts: the handshake is done, and it is not in its group yet.</summary>
/// <remarks>To refuse it, do not call next; <see cref="FilterContext.Close"/> gives a code and a reason other than 1008.</remarks>
public sealed class ConnectContext : FilterContext
{
    internal ConnectContext(Broadcaster broadcaster, Connection connection) : base(broadcaster, connection) { }
}
