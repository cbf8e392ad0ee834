namespace Broadcast.Middleware.Delivery;

/// <summary>A request to suspend a connection writer, or to resume the writer on another transport.</summary>
/// <param name="Sink">The sink of the new transport. Null to suspend the writer.</param>
/// <param name="Opening">The first bytes to send on the new transport.</param>
sealed record TransportChange(Sink? Sink, ReadOnlyMemory<byte> Opening)
{
    /// <summary>
    /// The source of the result. The result is false if unacknowledged messages are no longer available.
    /// </summary>
    public TaskCompletionSource<bool> Completed { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
}
