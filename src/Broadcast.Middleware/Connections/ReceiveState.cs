namespace Broadcast.Middleware.Connections;

/// <summary>The states of reading from a client.</summary>
enum ReceiveState
{
    /// <summary>Connect filters run. The server reads nothing yet.</summary>
    Starting,

    /// <summary>The server reads. The client has not sent a message.</summary>
    AwaitingFirstMessage,

    /// <summary>The server handles a message. It reads nothing meanwhile.</summary>
    Handling,

    /// <summary>The server reads the next message.</summary>
    Reading,

    /// <summary>The app shuts down. The server handles a message and begins no further one.</summary>
    HandlingLast,

    /// <summary>The app shuts down. The server reads until the close frame and drops all messages.</summary>
    Stopped,
}
