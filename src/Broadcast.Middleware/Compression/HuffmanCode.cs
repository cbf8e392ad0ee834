namespace Broadcast.Middleware.Compression;

/// <summary>
/// A Huffman code of DEFLATE (RFC 1951, section 3.2.2). <see cref="TryBuild"/> can reuse the object for another code.
/// </summary>
/// <param name="maxSymbols">The maximum number of symbols.</param>
sealed class HuffmanCode(int maxSymbols)
{
    /// <summary>The maximum length of a code in bits.</summary>
    public const int MaxLength = 15;

    // The decoder decodes a code of at most this length with one table access. Compressors give such short codes to
    // frequent symbols.
    const int FastLength = 9;

    const int LengthBits = 4, LengthMask = (1 << LengthBits) - 1;

    readonly ushort[] _fast = new ushort[1 << FastLength]; // A symbol and the length of its code. 0 for a longer code.
    readonly ushort[] _counts = new ushort[MaxLength + 1]; // The number of codes of each length.
    readonly ushort[] _symbols = new ushort[maxSymbols]; // The symbols in the order of their codes.

    /// <summary>
    /// Builds the code. Returns false if the lengths are invalid: too many codes of a length, or unused codes.
    /// </summary>
    /// <param name="lengths">The length of the code of each symbol. 0 for a symbol without a code.</param>
    /// <param name="maySkipCodes">
    /// True if the method accepts a code with at most one symbol, although such a code leaves bit patterns unused.
    /// Compressors write such a code for a block with at most one distance.
    /// </param>
    public bool TryBuild(ReadOnlySpan<byte> lengths, bool maySkipCodes)
    {
        Array.Clear(_counts);
        foreach (var length in lengths) _counts[length]++;
        _counts[0] = 0;
        var unused = 1;
        var longest = 0;
        for (var length = 1; length <= MaxLength; length++)
        {
            unused = (unused << 1) - _counts[length];
            if (unused < 0) return false;
            if (_counts[length] > 0) longest = length;
        }

        if (unused > 0 && !(maySkipCodes && longest <= 1)) return false;
        Span<ushort> next = stackalloc ushort[MaxLength + 1]; // The index in _symbols for the next code of each length.
        Span<ushort> codes = stackalloc ushort[MaxLength + 1]; // The next code of each length.
        for (var length = 1; length < MaxLength; length++)
        {
            next[length + 1] = (ushort)(next[length] + _counts[length]);
            codes[length + 1] = (ushort)((codes[length] + _counts[length]) << 1);
        }

        Array.Clear(_fast);
        for (var symbol = 0; symbol < lengths.Length; symbol++)
        {
            int length = lengths[symbol];
            if (length == 0) continue;
            _symbols[next[length]++] = (ushort)symbol;
            var code = codes[length]++;
            if (length > FastLength) continue;
            var entry = (ushort)((symbol << LengthBits) | length);
            for (var i = Reverse(code, length); i < _fast.Length; i += 1 << length) _fast[i] = entry;
        }

        return true;
    }

    /// <summary>
    /// Decodes the first symbol of the bits and returns the length of the symbol's code. Returns 0 if the code needs
    /// more bits, and -1 if no symbol has this code.
    /// </summary>
    /// <param name="bits">The bits. The first bit is the lowest bit.</param>
    /// <param name="count">The number of bits.</param>
    /// <param name="symbol">The symbol.</param>
    public int Decode(ulong bits, int count, out int symbol)
    {
        var entry = _fast[bits & ((1 << FastLength) - 1)];
        symbol = entry >> LengthBits;
        if (entry == 0) return DecodeLong(bits, count, out symbol);
        var length = entry & LengthMask;
        return length <= count ? length : 0;
    }

    int DecodeLong(ulong bits, int count, out int symbol)
    {
        symbol = 0;
        var (code, first, index) = (0, 0, 0);
        for (var length = 1; length <= MaxLength; length++, bits >>= 1)
        {
            if (length > count) return 0;
            code = (code << 1) | (int)(bits & 1);
            first <<= 1;
            var offset = code - first;
            if (offset < _counts[length])
            {
                symbol = _symbols[index + offset];
                return length;
            }

            first += _counts[length];
            index += _counts[length];
        }

        return -1;
    }

    /// <summary>Reverses the bits of a code. DEFLATE writes the highest bit of a code first.</summary>
    public static int Reverse(int code, int length)
    {
        var reversed = 0;
        for (; length > 0; length--, code >>= 1) reversed = (reversed << 1) | (code & 1);
        return reversed;
    }
}
