namespace Broadcast.Middleware.Connections;

/// <summary>The states of a <see cref="ReceiveGate"/>.</summary>
enum ReceiveState : byte
{
    /// <summary>Connect filters run. The server does not read yet.</summary>
    Starting,

    /// <summary>The server waits for the first message of the client.</summary>
    AwaitingFirstMessage,

    /// <summary>The server handles a message and does not read the next message yet.</summary>
    Handling,

    /// <summary>The server waits for the next message.</summary>
    Reading,

    /// <summary>The app shuts down. The server finishes the current message and handles no other message.</summary>
    HandlingLast,

    /// <summary>The app shuts down. The server reads until the close frame and drops all messages.</summary>
    Stopped,
}
