namespace Broadcast.Middleware.Connections;

/// <summary>The state that a protocol keeps for one connection.</summary>
interface IProtocolState
{
    /// <summary>
    /// Reports that the writer has read every message that was sent to this client alone. The call runs on the thread
    /// of the pump.
    /// </summary>
    void OnPrivateLogRead();

    /// <summary>Reports that the client has reconnected.</summary>
    void OnReconnected();

    /// <summary>Reports that the connection has left all groups.</summary>
    void OnEnded();
}
