using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Net.WebSockets;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Converts the messages of a <see cref="WebSocket"/> to unmasked frames, so that <see cref="MessageReader"/> can read
/// from every implementation of WebSockets. For example, the <c>TestServer</c> of ASP.NET Core has its own
/// implementation.
/// </summary>
/// <remarks>
/// Each received piece of a message becomes a fragment. The <see cref="WebSocket"/> itself answers pings.
/// </remarks>
sealed class WebSocketInput(WebSocket webSocket) : PipeReader
{
    // A header and a piece together fit into one buffer of 4 KB.
    const int HeaderSize = 4, MaxPieceSize = 4096 - HeaderSize;
    const byte Final = 0x80, MediumLength = 126;

    // The pipe has no limit, because each read adds one piece at most.
    readonly Pipe _pipe = new(new PipeOptions(pauseWriterThreshold: 0, useSynchronizationContext: false));
    bool _isContinued;
    bool _isClosed;

    public override async ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
    {
        if (_pipe.Reader.TryRead(out var unread)) return unread;
        var memory = _pipe.Writer.GetMemory(HeaderSize + MaxPieceSize)[..(HeaderSize + MaxPieceSize)];
        var received = await webSocket.ReceiveAsync(memory[HeaderSize..], cancellationToken);
        if (received.MessageType == WebSocketMessageType.Close) WriteCloseFrame();
        else WriteFragment(memory.Span, received);
        await _pipe.Writer.FlushAsync(cancellationToken);
        return await _pipe.Reader.ReadAsync(cancellationToken);
    }

    public override bool TryRead(out ReadResult result) => _pipe.Reader.TryRead(out result);

    public override void AdvanceTo(SequencePosition consumed) => _pipe.Reader.AdvanceTo(consumed);

    public override void AdvanceTo(SequencePosition consumed, SequencePosition examined) =>
        _pipe.Reader.AdvanceTo(consumed, examined);

    public override void CancelPendingRead() => _pipe.Reader.CancelPendingRead();

    public override void Complete(Exception? exception = null)
    {
        _pipe.Reader.Complete(exception);
        if (!_isClosed) _pipe.Writer.Complete();
    }

    void WriteFragment(Span<byte> frame, ValueWebSocketReceiveResult received)
    {
        var opcode = _isContinued ? 0 : received.MessageType == WebSocketMessageType.Text ? 1 : 2;
        frame[0] = (byte)(opcode | (received.EndOfMessage ? Final : 0));
        frame[1] = MediumLength;
        BinaryPrimitives.WriteUInt16BigEndian(frame[2..], (ushort)received.Count);
        _pipe.Writer.Advance(HeaderSize + received.Count);
        _isContinued = !received.EndOfMessage;
    }

    void WriteCloseFrame()
    {
        var status = webSocket.CloseStatus ?? WebSocketCloseStatus.Empty;
        var reason = webSocket.CloseStatusDescription;
        // The WebSocket may allow codes and reasons that a close frame cannot contain.
        if (!CloseStatus.IsSendable(status)) status = WebSocketCloseStatus.Empty;
        if (!CloseStatus.IsShort(reason)) reason = null;
        _pipe.Writer.Write(Frame.CreateClose(status, reason));
        _isClosed = true;
        _pipe.Writer.Complete();
    }
}
