using System.IO.Pipelines;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using Broadcast.Middleware.Transports;

namespace Broadcast.Middleware.Delivery;

/// <summary>Sends frames through the output pipe of a connection that the server can hand over.</summary>
/// <param name="output">The output pipe.</param>
/// <param name="reader">Reads the frames of the client.</param>
/// <param name="socket">The TCP socket. Null if the transport uses no socket.</param>
sealed class PipeSink(PipeWriter output, MessageReader reader, Socket? socket) : FrameSink(reader, socket)
{
    public override int Prefetch() => output is InlineWriter writer ? writer.Prefetch() : 0;

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
    {
        var flush = output.WriteAsync(frames);
        if (!flush.IsCompletedSuccessfully) return WaitAsync(flush);
        ThrowIfClosed(flush.Result);
        return default;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    static async ValueTask WaitAsync(ValueTask<FlushResult> flush) =>
        ThrowIfClosed(await flush.ConfigureAwait(false));

    static void ThrowIfClosed(FlushResult result)
    {
        if (result.IsCompleted) throw new IOException("The write failed because the client is gone.");
    }
}
