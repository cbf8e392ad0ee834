namespace Broadcast.Middleware.Connections;

/// <summary>The states of a <see cref="Connection"/>.</summary>
enum ConnectionState : byte
{
    /// <summary>The server has admitted the connection. Connect filters run.</summary>
    Connecting,

    /// <summary>The connection is in its home group and has a transport.</summary>
    Open,

    /// <summary>The transport is gone. The client may reconnect.</summary>
    Disconnected,

    /// <summary>The connection has left all groups and cannot join a group.</summary>
    Left,

    /// <summary>The connection has ended and has released its transport.</summary>
    Ended,
}
