using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// An answer to a control frame of a client: a pong or a close frame. The code that receives from the client waits for
/// <see cref="Sent"/>. So the server stops reading from a client that sends pings but does not read the pongs.
/// </summary>
/// <param name="bytes">The frame.</param>
sealed class ControlFrame(byte[] bytes)
{
    readonly TaskCompletionSource _sent = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public byte[] Bytes => bytes;

    public bool IsClose => Frame.Opcode(bytes) == Frame.Close;

    /// <summary>
    /// A task that completes when the server has sent the frame. The task also completes if the server has already sent
    /// a close frame, because no frame may follow a close frame. The task fails if the connection ends first.
    /// </summary>
    public Task Sent => _sent.Task;

    /// <summary>Completes <see cref="Sent"/>. If the error is not null, the task fails.</summary>
    public void Complete(Exception? error)
    {
        if (error is null) _sent.SetResult();
        else _sent.SetException(error);
    }
}
