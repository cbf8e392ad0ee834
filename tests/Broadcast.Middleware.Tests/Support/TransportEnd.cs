namespace Broadcast.Middleware.Tests.Support;

/// <summary>How the server ended the transport.</summary>
enum TransportEnd
{
    /// <summary>In order: all bytes from the server have arrived.</summary>
    Finished,

    /// <summary>By a reset: bytes may be lost.</summary>
    Reset,
}
