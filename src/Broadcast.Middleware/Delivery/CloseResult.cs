namespace Broadcast.Middleware.Delivery;

/// <summary>The result of an attempt to send a close frame.</summary>
/// <param name="Sink">The sink that the writer used.</param>
/// <param name="Error">The error. Null if the sink has sent the close frame.</param>
sealed record CloseResult(Sink Sink, Exception? Error);
