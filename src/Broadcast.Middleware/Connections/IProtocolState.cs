namespace Broadcast.Middleware.Connections;

/// <summary>State of a protocol that lives as long as a connection.</summary>
interface IProtocolState
{
    /// <summary>
    /// The client has received everything that was sent to it alone. Called on the thread of the pump.
    /// </summary>
    void OnPrivateLogRead();

    /// <summary>The client has reconnected.</summary>
    void OnReconnected();

    /// <summary>The connection has left all groups.</summary>
    void OnEnded();
}
