namespace Broadcast.Middleware.Connections;

/// <summary>Describes what the server does with the input of a connection.</summary>
enum ReceiveState
{
    /// <summary>Connect filters run. The server reads nothing yet.</summary>
    Starting,

    /// <summary>The server reads. The client has not sent a message.</summary>
    AwaitingFirstMessage,

    /// <summary>The server handles a message and reads nothing meanwhile.</summary>
    Handling,

    /// <summary>The server reads the next message.</summary>
    Reading,
}
