using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Net.WebSockets;
using System.Numerics;
using System.Text;
using System.Text.Unicode;
using Broadcast.Middleware.Compression;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Parses the frames of a client (RFC 6455, section 5) and assembles messages. The reader checks the UTF-8 of a text
/// message while the bytes arrive. So the reader detects invalid UTF-8 before the frame is complete.
/// </summary>
/// <remarks>
/// <para>
/// Call <see cref="ReadAsync"/> and <see cref="Take"/> in turn. <see cref="ReadAsync"/> returns the task of the input
/// itself. So an idle connection keeps no async state machine of this class in memory. After <see cref="Release"/>, the
/// connection also keeps no buffer. Invariant: only one thread at a time uses the reader.
/// </para>
/// <para>A frame of a client can be much larger than a buffer. So the reader consumes a payload in pieces.</para>
/// </remarks>
/// <param name="input">The bytes of the client.</param>
/// <param name="isMasked">
/// True if the client must mask its frames. False for the frames of <see cref="WebSocketInput"/>.
/// </param>
sealed class MessageReader(PipeReader input, bool isMasked)
{
    const int InitialBufferSize = 4096, SmallFragmentSize = 64;
    const int InflateChunkSize = 1024, MaxEmptyBlockBytes = 1024;
    const int MaxControlPayload = 125, MaskSize = 4, MaxIncompleteBytes = 3;
    const int ReservedBits = 0x70, Rsv1 = 0x40;
    const byte Continuation = 0, Text = 1, Binary = 2, Pong = 10;

    byte[] _buffer = [];
    byte[]? _pong;
    MessageInflater? _inflater; // Null until the payload of a compressed message arrives.
    int _length;
    int _validLength; // The number of text bytes that the reader has checked.
    int _smallFragments;
    int _reads;
    ulong _compressedLength; // The sum of the payload sizes of the frames. Only compressed messages need this sum.
    ulong _remaining; // The number of payload bytes that the frame still needs.
    uint _mask; // The mask of the next payload byte is in the lowest byte.
    MessagePart _part;
    bool _isCompressed;
    bool _isFinal; // True if the current frame is the last frame of the message.

    /// <summary>The maximum size of a message in bytes.</summary>
    public required int MaxMessageBytes { get; init; }

    /// <summary>See <see cref="BroadcastOptions.MaxSmallFragments"/>.</summary>
    public required int MaxSmallFragments { get; init; }

    /// <summary>True if the client may compress messages (RFC 7692).</summary>
    public bool Decompresses { get; init; }

    /// <summary>
    /// The number of reads that have completed. A change of the number shows that the client is alive.
    /// </summary>
    public int Reads => Volatile.Read(ref _reads);

    /// <summary>The type of the message. Valid after <see cref="ReceivedItem.Message"/>.</summary>
    public MessageType Type { get; private set; }

    /// <summary>
    /// The payload of the last message. Valid until <see cref="Release"/> or until <see cref="Take"/> begins the next
    /// message.
    /// </summary>
    public ReadOnlyMemory<byte> Payload => _buffer.AsMemory(0, _length);

    /// <summary>
    /// The close code of the client. Null before a close frame. The value is 1005 if the close frame contains no code.
    /// </summary>
    public WebSocketCloseStatus? CloseStatus { get; private set; }

    /// <summary>The reason in the close frame of the client.</summary>
    public string? CloseReason { get; private set; }

    /// <summary>The error of the client. Null without an error.</summary>
    public ReceiveError? Error { get; private set; }

    /// <summary>
    /// The largest payload that the next frame may have. A compressed message has two limits. The inflater limits the
    /// decompressed size. This property limits the compressed size, because a client could send empty blocks forever.
    /// No message within the first limit needs more compressed bytes than the second limit.
    /// </summary>
    ulong MaxPayload => _isCompressed
        ? (2 * (ulong)MaxMessageBytes) + MaxEmptyBlockBytes - _compressedLength
        : (ulong)(MaxMessageBytes - _length);

    /// <summary>Waits for bytes of the client. Pass the result to <see cref="Take"/>.</summary>
    public ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default) =>
        input.ReadAsync(cancellationToken);

    /// <summary>Consumes the received bytes up to the end of the next item.</summary>
    /// <param name="result">The result of <see cref="ReadAsync"/>.</param>
    /// <param name="isHandling">
    /// True if the app still uses the last message. The reader then consumes only control frames, and stops before the
    /// next message.
    /// </param>
    /// <exception cref="WebSocketException">
    /// The client has disconnected. All complete items have been consumed.
    /// </exception>
    public ReceivedItem Take(ReadResult result, bool isHandling = false)
    {
        // A stopping server cancels the reads of its requests. Such a read does not show that the client is alive.
        if (!result.IsCanceled) Volatile.Write(ref _reads, _reads + 1);
        var unread = result.Buffer;
        var item = ReceivedItem.Nothing;
        try
        {
            item = Error is null ? Parse(ref unread, isHandling) : ReceivedItem.Error;
        }
        finally
        {
            // After an error, discard all bytes. If an item is complete, the next read must return the remaining bytes
            // at once. So do not mark these bytes as examined.
            if (item == ReceivedItem.Error) input.AdvanceTo(unread.End);
            else input.AdvanceTo(unread.Start, item == ReceivedItem.Nothing ? unread.End : unread.Start);
        }

        if (item == ReceivedItem.Nothing && result.IsCompleted)
            throw new WebSocketException(WebSocketError.ConnectionClosedPrematurely);
        return item;
    }

    /// <summary>
    /// Returns the buffer of the message to the array pool. The reader then drops the rest of an incomplete message.
    /// </summary>
    public void Release()
    {
        if (_buffer.Length > 0) ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
        (_length, _validLength) = (0, 0);
        _inflater?.Return();
        _inflater = null;
        if (_part == MessagePart.Kept) _part = MessagePart.Dropped;
    }

    /// <summary>Returns the answer to the last ping.</summary>
    public byte[] TakePong()
    {
        var pong = _pong!;
        _pong = null;
        return pong;
    }

    /// <summary>Reads and discards bytes of the client. Returns false at the end of the input.</summary>
    public async ValueTask<bool> DiscardAsync(CancellationToken cancellationToken)
    {
        var result = await input.ReadAsync(cancellationToken);
        input.AdvanceTo(result.Buffer.End);
        return !result.IsCompleted;
    }

    /// <summary>Completes the input. Do not read afterwards.</summary>
    public ValueTask CompleteAsync() => input.CompleteAsync();

    ReceivedItem Parse(ref ReadOnlySequence<byte> unread, bool isHandling)
    {
        while (true)
        {
            if (_remaining == 0)
            {
                var item = ReadHeader(ref unread, isHandling);
                if (item != ReceivedItem.Message) return item;
            }

            var isKept = _part == MessagePart.Kept;
            var problem = ReadPayload(ref unread);
            var isComplete = _isFinal && _remaining == 0;
            if (isComplete) EndMessage();
            if (problem != ReceivedItem.Nothing) return problem;
            if (isComplete && isKept) return ReceivedItem.Message;
            if (_remaining > 0) return ReceivedItem.Nothing;
        }
    }

    void EndMessage()
    {
        _part = MessagePart.None;
        _inflater?.Return();
        _inflater = null;
    }

    /// <summary>
    /// Reads the next frame header, and the whole frame if the frame is a control frame. The result
    /// <see cref="ReceivedItem.Message"/> means that a payload follows.
    /// </summary>
    ReceivedItem ReadHeader(ref ReadOnlySequence<byte> unread, bool isHandling)
    {
        if (unread.IsEmpty) return ReceivedItem.Nothing;
        Span<byte> header = stackalloc byte[Frame.MaxHeaderSize + MaskSize];
        var available = unread.Slice(0, Math.Min(unread.Length, header.Length));
        available.CopyTo(header);
        var opcode = Frame.Opcode(header);
        var isControl = opcode >= Frame.Close;
        // While the app uses the last message, decide from the first byte whether a message follows. If the reader
        // waited for the second byte, the first byte would already be examined. Then the reader could not stop before
        // this byte, because a pipe does not allow a smaller examined position.
        if (available.Length < 2) return isHandling && !isControl ? ReceivedItem.NextMessage : ReceivedItem.Nothing;
        if (FindError(header, opcode, isControl) is { } problem) return Fail(problem);
        if (isHandling && !isControl) return ReceivedItem.NextMessage;
        var length = (header[1] & 0x7F) switch { 126 => 2, 127 => 8, _ => 0 };
        var size = 2 + length + (isMasked ? MaskSize : 0);
        if (available.Length < size) return ReceivedItem.Nothing;
        var payload = length switch
        {
            0 => (ulong)(header[1] & 0x7F),
            2 => BinaryPrimitives.ReadUInt16BigEndian(header[2..]),
            _ => BinaryPrimitives.ReadUInt64BigEndian(header[2..]),
        };
        if (payload > long.MaxValue) return Fail("A frame has an invalid length.");
        var mask = isMasked ? BinaryPrimitives.ReadUInt32LittleEndian(header[(size - MaskSize)..]) : 0;
        var isFinal = (header[0] & 0x80) != 0;
        if (isControl) return ReadControlFrame(ref unread, opcode, size, (int)payload, mask);
        unread = unread.Slice(size);
        return StartFrame(opcode, isFinal, isCompressed: (header[0] & Rsv1) != 0, payload, mask);
    }

    /// <summary>Returns the violation in the first two bytes of a frame. Null without a violation.</summary>
    string? FindError(ReadOnlySpan<byte> header, byte opcode, bool isControl)
    {
        // Only the first frame of a message can mark the message as compressed (RFC 7692, section 6).
        var reserved = Decompresses && opcode is Text or Binary ? ReservedBits & ~Rsv1 : ReservedBits;
        if ((header[0] & reserved) != 0) return "A frame has a reserved bit that no extension allows.";
        if (isMasked && (header[1] & 0x80) == 0) return "A frame has no mask. A client must mask its frames.";
        if (isControl)
        {
            if (opcode > Pong) return $"A frame has the unknown opcode {opcode}.";
            if ((header[0] & 0x80) == 0) return "A control frame is fragmented.";
            return (header[1] & 0x7F) > MaxControlPayload ? "A control frame has more than 125 bytes." : null;
        }

        if (opcode > Binary) return $"A frame has the unknown opcode {opcode}.";
        if (opcode == Continuation) return _part == MessagePart.None ? "A fragment has no first fragment." : null;
        return _part == MessagePart.None ? null : "A new message begins inside a fragmented message.";
    }

    ReceivedItem StartFrame(byte opcode, bool isFinal, bool isCompressed, ulong payload, uint mask)
    {
        if (opcode != Continuation)
        {
            (_length, _validLength, _smallFragments) = (0, 0, 0);
            Type = opcode == Text ? MessageType.Text : MessageType.Binary;
            (_part, _isCompressed, _compressedLength) = (MessagePart.Kept, isCompressed, 0);
        }

        (_remaining, _mask, _isFinal) = (payload, mask, isFinal);
        if (!isFinal && payload < SmallFragmentSize) _smallFragments++;
        if (_part == MessagePart.Dropped) return ReceivedItem.Message;
        if (payload > MaxPayload) return Drop(ReceivedItem.TooBig);
        _compressedLength += payload;
        if (_smallFragments > MaxSmallFragments) return Drop(ReceivedItem.TooManyFragments);
        return ReceivedItem.Message;
    }

    /// <summary>Drops the payload of the current message, up to its last frame.</summary>
    ReceivedItem Drop(ReceivedItem reason)
    {
        Release();
        _part = MessagePart.Dropped;
        return reason;
    }

    /// <summary>
    /// Reads the available bytes of a payload. The result <see cref="ReceivedItem.Nothing"/> means that the reader
    /// found no problem.
    /// </summary>
    ReceivedItem ReadPayload(ref ReadOnlySequence<byte> unread)
    {
        var count = (int)Math.Min(Math.Min(_remaining, (ulong)unread.Length), int.MaxValue);
        var payload = unread.Slice(0, count);
        unread = unread.Slice(count);
        _remaining -= (ulong)count;
        if (_part == MessagePart.Dropped)
        {
            Release();
            return ReceivedItem.Nothing;
        }

        var isComplete = _isFinal && _remaining == 0;
        if (!_isCompressed)
        {
            Reserve(count);
            Unmask(payload, _buffer.AsSpan(_length, count));
            _length += count;
        }
        else if ((count > 0 || isComplete) && Inflate(payload, isComplete) is var problem and not ReceivedItem.Nothing)
        {
            return problem;
        }

        if (Type != MessageType.Text || IsTextValid(isComplete)) return ReceivedItem.Nothing;
        return FailPayload("A text message is not valid UTF-8. Send binary data in binary messages.");
    }

    /// <summary>Decompresses the payload into the buffer, up to the maximum message size.</summary>
    ReceivedItem Inflate(ReadOnlySequence<byte> payload, bool isComplete)
    {
        _inflater ??= MessageInflater.Rent();
        Span<byte> buffer = stackalloc byte[InflateChunkSize];
        while (true)
        {
            var piece = payload.Slice(0, Math.Min(payload.Length, InflateChunkSize));
            payload = payload.Slice(piece.End);
            Unmask(piece, buffer[..(int)piece.Length]);
            ReadOnlySpan<byte> compressed = buffer[..(int)piece.Length];
            var isLast = isComplete && payload.IsEmpty;
            while (true)
            {
                var message = _buffer.AsSpan(0, Math.Min(_buffer.Length, MaxMessageBytes));
                var result = _inflater.Inflate(ref compressed, isLast, message, ref _length);
                if (result == InflateResult.Invalid) return FailPayload("A compressed message is corrupt.");
                if (result != InflateResult.NeedsSpace) break;
                if (_length == MaxMessageBytes) return Drop(ReceivedItem.TooBig);
                Reserve(1);
            }

            if (payload.IsEmpty) return ReceivedItem.Nothing;
        }
    }

    /// <summary>Copies and unmasks the next bytes of the payload.</summary>
    void Unmask(ReadOnlySequence<byte> payload, Span<byte> output)
    {
        payload.CopyTo(output);
        Unmask(output, _mask);
        _mask = BitOperations.RotateRight(_mask, 8 * (output.Length % MaskSize));
    }

    ReceivedItem ReadControlFrame(
        ref ReadOnlySequence<byte> unread, byte opcode, int headerSize, int length, uint mask)
    {
        if (unread.Length < headerSize + length) return ReceivedItem.Nothing;
        Span<byte> buffer = stackalloc byte[MaxControlPayload];
        var payload = buffer[..length];
        unread.Slice(headerSize, length).CopyTo(payload);
        unread = unread.Slice(headerSize + length);
        Unmask(payload, mask);
        if (opcode == Frame.Close) return ReadCloseFrame(payload);
        if (opcode == Pong) return ReceivedItem.Pong;
        _pong = Frame.CreatePong(payload);
        return ReceivedItem.Ping;
    }

    ReceivedItem ReadCloseFrame(ReadOnlySpan<byte> payload)
    {
        if (payload.IsEmpty)
        {
            CloseStatus = WebSocketCloseStatus.Empty;
            return ReceivedItem.Close;
        }

        if (payload.Length == 1) return Fail("A close frame has one byte. A close code needs two bytes.");
        var status = (WebSocketCloseStatus)BinaryPrimitives.ReadUInt16BigEndian(payload);
        if (!Delivery.CloseStatus.IsSendable(status)) return Fail($"A close frame has the invalid code {(int)status}.");
        var reason = payload[2..];
        if (!Utf8.IsValid(reason)) return Fail("The reason in a close frame is not valid UTF-8.");
        (CloseStatus, CloseReason) = (status, Encoding.UTF8.GetString(reason));
        return ReceivedItem.Close;
    }

    ReceivedItem Fail(string problem)
    {
        Error = new(WebSocketCloseStatus.ProtocolError, problem);
        return ReceivedItem.Error;
    }

    ReceivedItem FailPayload(string problem)
    {
        Error = new(WebSocketCloseStatus.InvalidPayloadData, problem);
        return ReceivedItem.Error;
    }

    void Reserve(int count)
    {
        var needed = _length + count;
        if (needed <= _buffer.Length) return;
        // The buffer doubles, so that many small pieces are not copied many times.
        var size = Math.Max(needed, Math.Min(Math.Max(2L * _length, InitialBufferSize), MaxMessageBytes));
        var larger = ArrayPool<byte>.Shared.Rent((int)size);
        _buffer.AsSpan(0, _length).CopyTo(larger);
        if (_buffer.Length > 0) ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = larger;
    }

    bool IsTextValid(bool isComplete)
    {
        var text = _buffer.AsSpan(_validLength, _length - _validLength);
        var incomplete = isComplete ? 0 : CountIncomplete(text);
        _validLength = _length - incomplete;
        return Utf8.IsValid(text[..^incomplete]);
    }

    /// <summary>
    /// Returns the number of bytes at the end that can be the start of a valid character. Returns 0 if more bytes
    /// cannot make these bytes valid.
    /// </summary>
    static int CountIncomplete(ReadOnlySpan<byte> text)
    {
        for (var i = 1; i <= Math.Min(MaxIncompleteBytes, text.Length); i++)
        {
            var isContinuation = (text[^i] & 0xC0) == 0x80;
            if (isContinuation) continue;
            return Rune.DecodeFromUtf8(text[^i..], out _, out _) == OperationStatus.NeedMoreData ? i : 0;
        }

        return 0;
    }

    static void Unmask(Span<byte> bytes, uint mask)
    {
        if (mask == 0) return;
        if (Vector.IsHardwareAccelerated)
        {
            var inMemory = BitConverter.IsLittleEndian ? mask : BinaryPrimitives.ReverseEndianness(mask);
            var vector = Vector.AsVectorByte(new Vector<uint>(inMemory));
            for (; bytes.Length >= Vector<byte>.Count; bytes = bytes[Vector<byte>.Count..])
                (new Vector<byte>(bytes) ^ vector).CopyTo(bytes);
        }

        for (var i = 0; i < bytes.Length; i++) bytes[i] ^= (byte)(mask >> (8 * (i % MaskSize)));
    }

    /// <summary>The state of the message whose frames the reader receives.</summary>
    enum MessagePart : byte
    {
        /// <summary>No message is incomplete. The next data frame begins a message.</summary>
        None,

        /// <summary>A message is incomplete. The reader keeps its payload.</summary>
        Kept,

        /// <summary>A message is incomplete. The reader drops its payload.</summary>
        Dropped,
    }
}
