namespace Broadcast.Middleware.Delivery;

/// <summary>The result of <see cref="MessageReader.Take"/>.</summary>
enum ReceivedItem : byte
{
    /// <summary>No item is complete. Read more bytes.</summary>
    Nothing,

    /// <summary>A whole message.</summary>
    Message,

    /// <summary>The next frame belongs to a message, but the app still uses the last message.</summary>
    NextMessage,

    /// <summary>A ping. The server must answer with <see cref="MessageReader.TakePong"/>.</summary>
    Ping,

    /// <summary>A pong.</summary>
    Pong,

    /// <summary>A close frame. The client sends nothing more.</summary>
    Close,

    /// <summary>A message is larger than the limit. The reader drops the message.</summary>
    TooBig,

    /// <summary>A message has more small fragments than the limit. The reader drops the message.</summary>
    TooManyFragments,

    /// <summary>The client violated the protocol: see <see cref="MessageReader.Error"/>.</summary>
    Error,
}
