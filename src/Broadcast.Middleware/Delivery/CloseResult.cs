namespace Broadcast.Middleware.Delivery;

/// <summary>The result of sending a close frame.</summary>
/// <param name="Sink">The sink that was asked to send the frame.</param>
/// <param name="Error">The error. Null if the close frame was sent.</param>
sealed record CloseResult(Sink Sink, Exception? Error);
