using System.Buffers;
using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Unicode;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Parses the frames that a client sends (RFC 6455, section 5.2), and finds the first invalid UTF-8 byte of a text.
/// </summary>
/// <remarks>
/// The framework's WebSocket checks a text at the end of its frame. A client can send the invalid byte long before this
/// end. So this inspector checks the text in frames that are still incomplete. The WebSocket makes all other checks.
/// </remarks>
struct FrameInspector
{
    const int ChunkSize = 512, MaxIncompleteBytes = 3, MaskSize = 4;

    Header _header;
    Incomplete _incomplete; // The first bytes of a character that is not complete yet.
    ulong _remaining; // The number of payload bytes that the frame still needs.
    uint _mask;
    int _maskOffset;
    byte _headerLength; // The number of header bytes that the inspector has read. 0 inside a payload.
    byte _incompleteLength;
    bool _isText; // True inside a text message.
    bool _isControl;
    bool _isFinal;

    /// <summary>True if a text contains invalid UTF-8. The inspector then ignores all further bytes.</summary>
    public bool HasInvalidText { get; private set; }

    /// <summary>True between two messages. The inspector then needs no memory of earlier bytes.</summary>
    public readonly bool IsBetweenMessages => _remaining == 0 && _headerLength == 0 && !_isText;

    /// <summary>Reads the next bytes of the client.</summary>
    public void Read(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty && !HasInvalidText)
        {
            if (_remaining > 0) ReadPayload(ref bytes);
            else ReadHeader(ref bytes);
        }
    }

    void ReadHeader(ref ReadOnlySpan<byte> bytes)
    {
        Span<byte> header = _header;
        header[_headerLength++] = bytes[0];
        bytes = bytes[1..];
        if (_headerLength < 2 || _headerLength < SizeOf(header)) return;
        _headerLength = 0;
        _isFinal = (header[0] & 0x80) != 0;
        var opcode = header[0] & 0x0F;
        _isControl = opcode >= 8;
        // A frame with another opcode continues the message or belongs to no message. The bit RSV1 marks a compressed
        // message. The WebSocket checks the text after the decompression.
        var isCompressed = (header[0] & 0x40) != 0;
        if (opcode is 1 or 2) (_isText, _incompleteLength) = (opcode == 1 && !isCompressed, 0);
        _remaining = (header[1] & 0x7F) switch
        {
            126 => BinaryPrimitives.ReadUInt16BigEndian(header[2..]),
            127 => BinaryPrimitives.ReadUInt64BigEndian(header[2..]),
            var small => (ulong)small,
        };
        var isMasked = (header[1] & 0x80) != 0;
        _mask = isMasked ? BinaryPrimitives.ReadUInt32LittleEndian(header[(SizeOf(header) - MaskSize)..]) : 0;
        _maskOffset = 0;
        if (_remaining == 0) EndFrame();
    }

    void ReadPayload(ref ReadOnlySpan<byte> bytes)
    {
        var count = (int)Math.Min(_remaining, (ulong)bytes.Length);
        var isLast = _isFinal && (ulong)count == _remaining;
        // The WebSocket checks the text of a complete message.
        if (_isText && !_isControl && !isLast) Check(bytes[..count]);
        _maskOffset = (_maskOffset + count) % MaskSize;
        _remaining -= (ulong)count;
        bytes = bytes[count..];
        if (_remaining == 0) EndFrame();
    }

    void EndFrame()
    {
        if (_isFinal && !_isControl) _isText = false;
    }

    void Check(ReadOnlySpan<byte> masked)
    {
        Span<byte> buffer = stackalloc byte[MaxIncompleteBytes + ChunkSize];
        var mask = BitOperations.RotateRight(_mask, 8 * _maskOffset);
        while (!masked.IsEmpty)
        {
            var count = Math.Min(masked.Length, ChunkSize);
            ((ReadOnlySpan<byte>)_incomplete)[.._incompleteLength].CopyTo(buffer);
            masked[..count].CopyTo(buffer[_incompleteLength..]);
            Unmask(buffer.Slice(_incompleteLength, count), mask);
            var text = buffer[..(_incompleteLength + count)];
            var incomplete = CountIncomplete(text);
            if (!Utf8.IsValid(text[..^incomplete]))
            {
                HasInvalidText = true;
                return;
            }

            text[^incomplete..].CopyTo(_incomplete);
            _incompleteLength = (byte)incomplete;
            masked = masked[count..];
            mask = BitOperations.RotateRight(mask, 8 * (count % MaskSize));
        }
    }

    /// <summary>Returns the size of the header, which depends on the first two bytes of the header.</summary>
    static int SizeOf(ReadOnlySpan<byte> header)
    {
        var length = (header[1] & 0x7F) switch
        {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        return 2 + length + ((header[1] & 0x80) != 0 ? MaskSize : 0);
    }

    static void Unmask(Span<byte> bytes, uint mask)
    {
        var wide = mask | ((ulong)mask << 32);
        for (; bytes.Length >= sizeof(ulong); bytes = bytes[sizeof(ulong)..])
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, BinaryPrimitives.ReadUInt64LittleEndian(bytes) ^ wide);
        for (var i = 0; i < bytes.Length; i++) bytes[i] ^= (byte)(mask >> (8 * (i % MaskSize)));
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

    [InlineArray(14)]
    struct Header
    {
        byte _first;
    }

    [InlineArray(MaxIncompleteBytes)]
    struct Incomplete
    {
        byte _first;
    }
}
