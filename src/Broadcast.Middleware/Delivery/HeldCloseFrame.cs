namespace Broadcast.Middleware.Delivery;

/// <summary>
/// A close frame of the framework's WebSocket, which waits until the writer has sent all earlier messages. For example,
/// the WebSocket sends such a frame after a protocol error of the client.
/// </summary>
/// <remarks>The thread of the pump uses this class. Only the timer runs on another thread.</remarks>
/// <param name="frame">The stream that contains the close frame.</param>
/// <param name="lastSequence">The highest sequence number to send before the frame.</param>
sealed class HeldCloseFrame(FrameStream frame, long lastSequence)
{
    ITimer? _timer;
    bool _isOverdue;

    public FrameStream Frame => frame;

    public long LastSequence => lastSequence;

    /// <summary>True if the earlier messages need more time than the close timeout.</summary>
    public bool IsOverdue => Volatile.Read(ref _isOverdue);

    /// <summary>Limits the wait. Only the first call starts the timer.</summary>
    /// <param name="heartbeat">Creates the timer.</param>
    /// <param name="timeout">See <see cref="BroadcastOptions.CloseTimeout"/>.</param>
    /// <param name="writer">Gets a turn when the time has passed.</param>
    public void LimitTime(Heartbeat heartbeat, TimeSpan timeout, ConnectionWriter writer) =>
        _timer ??= heartbeat.StartTimer(timeout, () =>
        {
            Volatile.Write(ref _isOverdue, true);
            writer.Post();
        });

    public void StopTimer() => _timer?.Dispose();
}
