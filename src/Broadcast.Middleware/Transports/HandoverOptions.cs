namespace Broadcast.Middleware.Transports;

/// <summary>The options for the handover and the inline sends of a server.</summary>
/// <param name="HandsOver">True if the HTTP request of a WebSocket ends after the handshake.</param>
/// <param name="SendsInline">True if connections send data on the thread that flushes the data.</param>
/// <param name="WaitAtShutdown">
/// Adds a task that the app awaits during its shutdown. The task completes when the last connection of a listener has
/// ended.
/// </param>
/// <param name="Stopping">Canceled when the app begins to stop.</param>
/// <param name="Abandoned">Canceled when a stopping server no longer waits for connections.</param>
sealed record HandoverOptions(
    bool HandsOver,
    bool SendsInline,
    Action<Task> WaitAtShutdown,
    CancellationToken Stopping,
    CancellationToken Abandoned);
