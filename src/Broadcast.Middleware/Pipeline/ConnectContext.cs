namespace Broadcast.Middleware;

/// <summary>A connection starts: the handshake is done, and it is not in its group yet.</summary>
/// <remarks>To refuse it, do not call next; <see cref="FilterContext.Close"/> gives a code and a reason other than 1008.</remarks>
public sealed class ConnectContext : FilterContext
{
    internal ConnectContext(Broadcaster broadcaster, Connection connection, Replay replay) : base(broadcaster, connection) => Replay = replay;

    /// <summary>
    /// What of its group's history it is given: by default what the group's settings say, or, for server-sent events, what the client's
    /// Last-Event-ID asks for.
    /// </summary>
    public Replay Replay { get; set; }

    /// <summary>What became of it, after next.</summary>
    public JoinResult Result { get; internal set; }
}
