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
    /// Completes when the server has sent the frame. Also completes if the server has already sent a close frame,
    /// because no frame may follow a close frame. Fails if the connection ends first.
    /// </summary>
    public Task Sent => _sent.Task;

    /// <summary>Completes <see cref="Sent"/>. The error is null if the frame was sent.</summary>
    public void Complete(Exception? error)
    {
        if (error is null) _sent.SetResult();
        else _sent.SetException(error);
    }
}
