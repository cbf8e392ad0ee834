namespace Broadcast.Middleware.Filters;

/// <summary>Receives messages of a client while the connect filters run.</summary>
interface IFirstMessageReceiver
{
    /// <summary>Returns the next message. Null if the client or the server closes the connection instead.</summary>
    ValueTask<Message?> ReceiveFirstAsync();
}
