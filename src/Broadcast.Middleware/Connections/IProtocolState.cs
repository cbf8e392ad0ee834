namespace Broadcast.Middleware.Connections;

/// <summary>The state that a protocol keeps for one connection.</summary>
interface IProtocolState
{
    /// <summary>
    /// Reports that the writer has read all messages in the private log of the connection. The pump calls this method
    /// on its thread.
    /// </summary>
    void OnPrivateLogRead();

    /// <summary>Reports that the client has reconnected.</summary>
    void OnReconnected();

    /// <summary>Reports that the connection has left all groups.</summary>
    void OnEnded();
}
