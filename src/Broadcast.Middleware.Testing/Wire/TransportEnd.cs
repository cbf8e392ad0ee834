namespace Broadcast.Middleware.Testing.Wire;

/// <summary>The ways in which a server can end a transport.</summary>
enum TransportEnd
{
    /// <summary>A normal end. All bytes from the server have arrived.</summary>
    Finished,

    /// <summary>A reset. Bytes may be lost.</summary>
    Reset,
}
