using System.Buffers.Binary;
using System.Diagnostics;
using Microsoft.Extensions.ObjectPool;

namespace Broadcast.Middleware.Compression;

/// <summary>
/// Decompresses the payload of one message (RFC 7692, section 7.2.2). The compressed bytes may arrive in pieces of any
/// size. The inflater needs a few kilobytes. A connection has an inflater only while a compressed message is
/// incomplete.
/// </summary>
/// <remarks>
/// <para>
/// Each message is compressed without the context of earlier messages. So the decompressed bytes of the message are the
/// window, and the inflater needs no other window. The inflater stops when the buffer of the message is full. So a few
/// compressed bytes cannot expand beyond the limit of the caller.
/// </para>
/// <para>
/// <see cref="System.IO.Compression.DeflateStream"/> is not suitable. The class ignores the bytes after a final block,
/// but a message may contain further blocks. The class does not report whether a message is truncated. An object of the
/// class needs at least 40 KB.
/// </para>
/// </remarks>
sealed class MessageInflater : IResettable
{
    const int MaxLiteralCodes = 286, MaxDistanceCodes = 30, LengthCodes = 19;

    static readonly ObjectPool<MessageInflater> Pool = ObjectPool.Create<MessageInflater>();

    static readonly HuffmanCode FixedLiterals = CreateFixed(288, DeflateTables.FixedCodeLength);

    static readonly HuffmanCode FixedDistances = CreateFixed(32, static _ => 5);

    readonly HuffmanCode _dynamicLiterals = new(MaxLiteralCodes);
    readonly HuffmanCode _dynamicDistances = new(MaxDistanceCodes);
    readonly HuffmanCode _lengthCode = new(LengthCodes);
    readonly byte[] _lengths = new byte[MaxLiteralCodes + MaxDistanceCodes];

    State _state;
    ulong _bits; // Bits of the input that the inflater has not used. The first bit is the lowest bit.
    int _bitCount;
    HuffmanCode _literals = FixedLiterals;
    HuffmanCode _distances = FixedDistances;
    int _literalCount, _distanceCount, _lengthCount; // The numbers of codes in the header of a dynamic block.
    int _lengthIndex; // The index of the next code length in the header of a dynamic block.
    int _copyLength; // The number of bytes of the current stored block or match that the inflater must still copy.
    int _copyDistance;
    bool _isFinalBlock;
    bool _hasInput;

    enum State
    {
        BlockHeader,
        StoredLength,
        Stored,
        DynamicHeader,
        DynamicLengthCode,
        DynamicLengths,
        Codes,
        Match,
    }

    // The order of the code lengths in the header of a dynamic block (RFC 1951, section 3.2.7).
    static ReadOnlySpan<byte> LengthCodeOrder => [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

    /// <summary>Returns an inflater for one message. Call <see cref="Return"/> after the message.</summary>
    public static MessageInflater Rent() => Pool.Get();

    public void Return() => Pool.Return(this);

    public bool TryReset()
    {
        _state = State.BlockHeader;
        (_bits, _bitCount) = (0, 0);
        (_isFinalBlock, _hasInput) = (false, false);
        return true;
    }

    /// <summary>Decompresses the next bytes of the message.</summary>
    /// <remarks>
    /// After <see cref="InflateResult.NeedsSpace"/>, call this method again with the rest of the input and a larger
    /// buffer, or refuse the message as too big. The method returns <see cref="InflateResult.NeedsSpace"/> only if the
    /// message has at least one more byte.
    /// </remarks>
    /// <param name="input">The compressed bytes. The method removes the consumed bytes.</param>
    /// <param name="isLast">True if the message has no compressed bytes after this input.</param>
    /// <param name="message">
    /// The buffer of the message. The buffer starts with the bytes of the earlier calls, because later bytes refer to
    /// these bytes.
    /// </param>
    /// <param name="length">
    /// The number of decompressed bytes in <paramref name="message"/>. The method adds the number of new bytes.
    /// </param>
    public InflateResult Inflate(ref ReadOnlySpan<byte> input, bool isLast, Span<byte> message, ref int length)
    {
        _hasInput |= !input.IsEmpty;
        var result = Run(ref input, message, ref length);
        if (result != InflateResult.NeedsInput || !isLast) return result;
        // Some clients send an empty message as no bytes instead of one zero byte (RFC 7692, section 7.2.3.6).
        if (!_hasInput) return InflateResult.Complete;
        // The sender has removed the last four bytes of the message: the length of an empty block without compression.
        return _state == State.StoredLength && _bitCount == 0 ? InflateResult.Complete : InflateResult.Invalid;
    }

    InflateResult Run(ref ReadOnlySpan<byte> input, Span<byte> message, ref int length)
    {
        while (true)
        {
            var result = _state switch
            {
                State.BlockHeader => ReadBlockHeader(ref input),
                State.StoredLength => ReadStoredLength(ref input),
                State.Stored => CopyStored(ref input, message, ref length),
                State.DynamicHeader => ReadDynamicHeader(ref input),
                State.DynamicLengthCode => ReadLengthCode(ref input),
                State.DynamicLengths => ReadLengths(ref input),
                State.Codes => Decode(ref input, message, ref length),
                _ => CopyMatch(message, ref length),
            };
            if (result is { } ended) return ended;
        }
    }

    InflateResult? ReadBlockHeader(ref ReadOnlySpan<byte> input)
    {
        // After a final block, the next block starts at the next byte (RFC 7692, section 7.2.1).
        if (_isFinalBlock) SkipToByte();
        _isFinalBlock = false;
        if (!TryFill(ref input, 3)) return InflateResult.NeedsInput;
        _isFinalBlock = TakeBits(1) == 1;
        switch (TakeBits(2))
        {
            case 0:
                SkipToByte();
                _state = State.StoredLength;
                return null;
            case 1:
                (_literals, _distances, _state) = (FixedLiterals, FixedDistances, State.Codes);
                return null;
            case 2:
                (_literals, _distances, _state) = (_dynamicLiterals, _dynamicDistances, State.DynamicHeader);
                return null;
            default:
                return InflateResult.Invalid;
        }
    }

    InflateResult? ReadStoredLength(ref ReadOnlySpan<byte> input)
    {
        if (!TryFill(ref input, 32)) return InflateResult.NeedsInput;
        _copyLength = TakeBits(16);
        if (TakeBits(16) != (_copyLength ^ 0xFFFF)) return InflateResult.Invalid;
        _state = State.Stored;
        return null;
    }

    InflateResult? CopyStored(ref ReadOnlySpan<byte> input, Span<byte> message, ref int length)
    {
        while (_copyLength > 0)
        {
            if (_bitCount == 0 && input.IsEmpty) return InflateResult.NeedsInput;
            if (length == message.Length) return InflateResult.NeedsSpace;
            if (_bitCount > 0)
            {
                message[length++] = (byte)TakeBits(8);
                _copyLength--;
                continue;
            }

            var count = Math.Min(_copyLength, Math.Min(input.Length, message.Length - length));
            input[..count].CopyTo(message[length..]);
            input = input[count..];
            length += count;
            _copyLength -= count;
        }

        _state = State.BlockHeader;
        return null;
    }

    InflateResult? ReadDynamicHeader(ref ReadOnlySpan<byte> input)
    {
        if (!TryFill(ref input, 14)) return InflateResult.NeedsInput;
        _literalCount = TakeBits(5) + DeflateTables.FirstLength;
        _distanceCount = TakeBits(5) + 1;
        _lengthCount = TakeBits(4) + 4;
        if (_literalCount > MaxLiteralCodes || _distanceCount > MaxDistanceCodes) return InflateResult.Invalid;
        Array.Clear(_lengths, 0, LengthCodes);
        _lengthIndex = 0;
        _state = State.DynamicLengthCode;
        return null;
    }

    InflateResult? ReadLengthCode(ref ReadOnlySpan<byte> input)
    {
        for (; _lengthIndex < _lengthCount; _lengthIndex++)
        {
            if (!TryFill(ref input, 3)) return InflateResult.NeedsInput;
            _lengths[LengthCodeOrder[_lengthIndex]] = (byte)TakeBits(3);
        }

        if (!_lengthCode.TryBuild(_lengths.AsSpan(0, LengthCodes), maySkipCodes: false)) return InflateResult.Invalid;
        _lengthIndex = 0;
        _state = State.DynamicLengths;
        return null;
    }

    InflateResult? ReadLengths(ref ReadOnlySpan<byte> input)
    {
        var total = _literalCount + _distanceCount;
        while (_lengthIndex < total)
        {
            Fill(ref input);
            var used = _lengthCode.Decode(_bits, _bitCount, out var symbol);
            if (used < 0) return InflateResult.Invalid;
            var (extraBits, minRepeats) = symbol switch { 16 => (2, 3), 17 => (3, 3), 18 => (7, 11), _ => (0, 1) };
            if (used == 0 || used + extraBits > _bitCount) return InflateResult.NeedsInput;
            Drop(used);
            var repeats = minRepeats + TakeBits(extraBits);
            if (repeats > total - _lengthIndex || (symbol == 16 && _lengthIndex == 0)) return InflateResult.Invalid;
            var value = symbol switch { 16 => _lengths[_lengthIndex - 1], < 16 => (byte)symbol, _ => (byte)0 };
            _lengths.AsSpan(_lengthIndex, repeats).Fill(value);
            _lengthIndex += repeats;
        }

        var lengths = _lengths.AsSpan(0, total);
        var isValid = lengths[DeflateTables.EndOfBlock] != 0
            && _dynamicLiterals.TryBuild(lengths[.._literalCount], maySkipCodes: true)
            && _dynamicDistances.TryBuild(lengths[_literalCount..], maySkipCodes: true);
        if (!isValid) return InflateResult.Invalid;
        _state = State.Codes;
        return null;
    }

    InflateResult? Decode(ref ReadOnlySpan<byte> input, Span<byte> message, ref int length)
    {
        while (true)
        {
            // A length and a distance with their extra bits have at most 48 bits.
            if (_bitCount < 48) Fill(ref input);
            var used = _literals.Decode(_bits, _bitCount, out var symbol);
            if (used <= 0) return used < 0 ? InflateResult.Invalid : InflateResult.NeedsInput;
            if (symbol < DeflateTables.EndOfBlock)
            {
                if (length == message.Length) return InflateResult.NeedsSpace;
                message[length++] = (byte)symbol;
                Drop(used);
                continue;
            }

            if (symbol == DeflateTables.EndOfBlock)
            {
                Drop(used);
                _state = State.BlockHeader;
                return null;
            }

            // Use the bits only after all bits of the match have arrived.
            symbol -= DeflateTables.FirstLength;
            if (symbol >= DeflateTables.LengthBases.Length) return InflateResult.Invalid;
            var extraBits = DeflateTables.LengthExtraBits[symbol];
            var copyLength = DeflateTables.LengthBases[symbol] + Peek(used, extraBits);
            used += extraBits;
            if (used >= _bitCount) return InflateResult.NeedsInput;
            var usedByDistance = _distances.Decode(_bits >> used, _bitCount - used, out symbol);
            if (usedByDistance <= 0) return usedByDistance < 0 ? InflateResult.Invalid : InflateResult.NeedsInput;
            if (symbol >= DeflateTables.DistanceBases.Length) return InflateResult.Invalid;
            used += usedByDistance;
            extraBits = DeflateTables.DistanceExtraBits[symbol];
            if (used + extraBits > _bitCount) return InflateResult.NeedsInput;
            _copyDistance = DeflateTables.DistanceBases[symbol] + Peek(used, extraBits);
            _copyLength = copyLength;
            Drop(used + extraBits);
            if (_copyDistance > length) return InflateResult.Invalid;
            if (CopyMatch(message, ref length) is not { } result) continue;
            _state = State.Match;
            return result;
        }
    }

    InflateResult? CopyMatch(Span<byte> message, ref int length)
    {
        while (_copyLength > 0)
        {
            // The source may overlap the target. Each round copies only bytes that are already complete.
            var count = Math.Min(_copyLength, Math.Min(_copyDistance, message.Length - length));
            if (count == 0) return InflateResult.NeedsSpace;
            message.Slice(length - _copyDistance, count).CopyTo(message[length..]);
            length += count;
            _copyLength -= count;
        }

        _state = State.Codes;
        return null;
    }

    /// <summary>Reads as much input as the bit buffer can hold.</summary>
    void Fill(ref ReadOnlySpan<byte> input)
    {
        if (input.Length >= sizeof(ulong))
        {
            var bytes = (63 - _bitCount) >> 3;
            if (bytes <= 0) return;
            var next = BinaryPrimitives.ReadUInt64LittleEndian(input) & (ulong.MaxValue >> (64 - (bytes * 8)));
            _bits |= next << _bitCount;
            _bitCount += bytes * 8;
            input = input[bytes..];
            return;
        }

        while (_bitCount <= 56 && !input.IsEmpty)
        {
            _bits |= (ulong)input[0] << _bitCount;
            _bitCount += 8;
            input = input[1..];
        }
    }

    bool TryFill(ref ReadOnlySpan<byte> input, int count)
    {
        if (_bitCount < count) Fill(ref input);
        return _bitCount >= count;
    }

    int Peek(int start, int count) => (int)(_bits >> start) & ((1 << count) - 1);

    int TakeBits(int count)
    {
        var value = Peek(0, count);
        Drop(count);
        return value;
    }

    void Drop(int count)
    {
        Debug.Assert(count <= _bitCount);
        _bits >>= count;
        _bitCount -= count;
    }

    void SkipToByte() => Drop(_bitCount & 7);

    static HuffmanCode CreateFixed(int symbols, Func<int, int> getLength)
    {
        var code = new HuffmanCode(symbols);
        var isValid = code.TryBuild([.. Enumerable.Range(0, symbols).Select(symbol => (byte)getLength(symbol))], false);
        Debug.Assert(isValid);
        return code;
    }
}
