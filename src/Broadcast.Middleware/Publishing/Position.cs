using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Broadcast.Middleware;

/// <summary>A message's place in its group.</summary>
/// <param name="Epoch">Names one life of the group's log. Offsets of different epochs have nothing to do with each other.</param>
/// <param name="Offset">1 for the first message of the epoch, and one more for each that follows; 0 for the place before the first.</param>
public readonly record struct Position(ulong Epoch, long Offset)
{
    /// <summary>The epoch in 16 hexadecimal digits, a hyphen, and the offset: <c>00c0ffee00c0ffee-42</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Epoch:x16}-{Offset}");

    /// <summary>Reads what <see cref="ToString"/> has written, and nothing else.</summary>
    /// <param name="text">The text; of any origin.</param>
    /// <param name="position">What it says.</param>
    /// <returns>False if it is no position.</returns>
    public static bool TryParse([NotNullWhen(true)] string? text, out Position position)
    {
        position = default;
        if (text is not { Length: > EpochDigits + 1 } || text[EpochDigits] != '-') return false;
        if (!ulong.TryParse(text.AsSpan(0, EpochDigits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var epoch)
            || !long.TryParse(text.AsSpan(EpochDigits + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var offset)) return false;
        // Numbers may be written in more than one way, and some of them are parsed.
        var read = new Position(epoch, offset);
        if (read.ToString() != text) return false;
        position = read;
        return true;
    }

    const int EpochDigits = 16;
}
