namespace Broadcast.Middleware.Delivery;

/// <summary>The states of a <see cref="ConnectionWriter"/>.</summary>
enum WriterState : byte
{
    /// <summary>The connection has no transport yet.</summary>
    Created,

    /// <summary>The writer sends messages.</summary>
    Open,

    /// <summary>The writer sends a close frame and no more messages.</summary>
    Closing,

    /// <summary>The server has sent a close frame. The writer sends no more messages.</summary>
    Closed,

    /// <summary>A write failed. The writer sends nothing more on this transport.</summary>
    Failed,

    /// <summary>The transport has ended. The client may reconnect.</summary>
    Suspended,

    /// <summary>The connection has ended.</summary>
    Detached,
}
