using System.Buffers;
using System.Collections.Concurrent;
using Broadcast.Middleware.Compression;

namespace Broadcast.Middleware.Logs;

/// <summary>
/// The compression of messages to clients (RFC 7692). Readers with the same <see cref="FrameCompression"/> and the same
/// format share the compressed bytes. So the server compresses each message of a log once.
/// </summary>
/// <param name="threshold">
/// The server compresses messages with more than this number of bytes: see
/// <see cref="BroadcastOptions.CompressMessagesAbove"/>.
/// </param>
/// <param name="windowBits">See <see cref="MessageDeflater.TryDeflate"/>.</param>
sealed class FrameCompression(int threshold, int windowBits)
{
    const int MaxKeptBufferBytes = 1 << 20;

    [ThreadStatic]
    static ArrayBufferWriter<byte>? _buffer;

    readonly ConcurrentDictionary<EntryEncoder, Encoder> _encoders = new();
    Encoder? _rawEncoder;

    public int WindowBits => windowBits;

    /// <summary>Returns the encoder that compresses the entries of a format.</summary>
    /// <param name="format">The encoder of the format. Null for the WebSocket frames of the log.</param>
    public EntryEncoder GetEncoder(EntryEncoder? format)
    {
        if (format is not null) return _encoders.GetOrAdd(format, Create, this);
        return _rawEncoder ?? Interlocked.CompareExchange(ref _rawEncoder, new(this, null), null) ?? _rawEncoder;
    }

    /// <summary>
    /// Returns the encoder for some entries of a block. Null if the format is WebSocket frames and no entry needs
    /// compression. In this case, clients with compression receive the same frames as other clients.
    /// </summary>
    public EntryEncoder? GetEncoder(EntryEncoder? format, Block block, int from, int to) =>
        format is not null || CompressesAny(block, from, to) ? GetEncoder(format) : null;

    bool CompressesAny(Block block, int from, int to)
    {
        for (var i = from; i < to; i++)
        {
            if (IsLong(Frame.PayloadSize(block.SizeOf(i))) && !IsPlain(block, i)) return true;
        }

        return false;
    }

    bool IsLong(int length) => length > threshold;

    /// <summary>
    /// True for a message that sets <see cref="Message.DisableCompression"/>, and for the answers of a protocol. Each
    /// connection has its own answers, so their compression would cost too much. An answer can also contain a secret
    /// next to text that another user chooses, for example in presence states. The compressed size could then reveal
    /// the secret.
    /// </summary>
    static bool IsPlain(Block block, int index) =>
        block[index].Metadata is { DisablesCompression: true } or { IsVerbatim: true };

    static Encoder Create(EntryEncoder format, FrameCompression compression) => new(compression, format);

    /// <summary>Writes a frame, and compresses the payload if the compressed payload is smaller.</summary>
    void Write(IBufferWriter<byte> output, ReadOnlySpan<byte> frame, MessageType type, ReadOnlySpan<byte> payload)
    {
        if (!IsLong(payload.Length) || !MessageDeflater.TryDeflate(payload, windowBits, out var compressed))
        {
            output.Write(frame);
            return;
        }

        var size = Frame.Size(compressed.Length);
        Frame.WriteCompressed(output.GetSpan(size), type, compressed);
        output.Advance(size);
    }

    /// <summary>Compresses the entries of one format.</summary>
    sealed class Encoder(FrameCompression compression, EntryEncoder? format) : EntryEncoder
    {
        // A turn of a pump must not take long. Compressing this number of bytes needs less than a millisecond.
        public override int MaxNewBytes => 16 * 1024;

        public override void Write(IBufferWriter<byte> output, MessageLog log, Block block, int index)
        {
            var isPlain = IsPlain(block, index);
            if (format is null)
            {
                var frame = block.FrameOf(index);
                if (isPlain) output.Write(frame.Span);
                else Compress(output, frame);
            }
            else if (isPlain)
            {
                format.Write(output, log, block, index);
            }
            else
            {
                var buffer = _buffer ??= new();
                buffer.ResetWrittenCount();
                format.Write(buffer, log, block, index);
                Compress(output, buffer.WrittenMemory);
                if (buffer.Capacity > MaxKeptBufferBytes) _buffer = null;
            }
        }

        void Compress(IBufferWriter<byte> output, ReadOnlyMemory<byte> frame)
        {
            var rest = frame;
            var payload = Frame.Next(ref rest, out var type);
            compression.Write(output, frame.Span, type, payload.Span);
        }
    }
}
