using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text.Json.Serialization;

namespace Broadcast.Middleware;

/// <summary>Identifies a message in its group by an epoch and an offset.</summary>
/// <remarks>
/// A client has received messages 1, 2 and 3. The server restarts and publishes 1 to 4. Without an epoch, the client
/// would ask for everything after 3 and receive only 4. With an epoch, the server detects that the position belongs to
/// an earlier log.
/// </remarks>
/// <param name="epoch">The epoch of the group's log.</param>
/// <param name="offset">The offset within the epoch.</param>
[JsonConverter(typeof(PositionJsonConverter))]
public readonly struct Position(ulong epoch, long offset) : IEquatable<Position>
{
    const int EpochDigits = 16;

    /// <summary>The ID of one lifetime of the group's log. Do not compare offsets of different epochs.</summary>
    public ulong Epoch { get; init; } = epoch;

    /// <summary>
    /// The number of the message within its epoch. The first message has offset 1, and each later message has the next
    /// number. Offset 0 is the position before the first message.
    /// </summary>
    public long Offset { get; init; } = offset;

    /// <summary>Parses the text that <see cref="ToString"/> returns. The method accepts no other spelling.</summary>
    /// <param name="text">The text, which may come from an untrusted client.</param>
    /// <param name="position">The position. The default value if the text is not a position.</param>
    /// <returns>False if the text is not a position.</returns>
    public static bool TryParse([NotNullWhen(true)] string? text, out Position position)
    {
        position = default;
        if (text is not { Length: > EpochDigits + 1 } || text[EpochDigits] != '-') return false;
        var culture = CultureInfo.InvariantCulture;
        var epochText = text.AsSpan(0, EpochDigits);
        var offsetText = text.AsSpan(EpochDigits + 1);
        if (!ulong.TryParse(epochText, NumberStyles.AllowHexSpecifier, culture, out var epoch)) return false;
        if (!long.TryParse(offsetText, NumberStyles.None, culture, out var offset)) return false;
        // TryParse accepts several spellings of a number, such as leading zeros. Only one spelling is valid here.
        var parsed = new Position(epoch, offset);
        if (parsed.ToString() != text) return false;
        position = parsed;
        return true;
    }

    /// <summary>
    /// Returns the epoch in 16 hexadecimal digits, a hyphen, and the offset: <c>00c0ffee00c0ffee-42</c>.
    /// </summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Epoch:x16}-{Offset}");

    /// <inheritdoc />
    public bool Equals(Position other) => Epoch == other.Epoch && Offset == other.Offset;

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is Position other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Epoch, Offset);

    /// <summary>True if both positions have the same epoch and offset.</summary>
    public static bool operator ==(Position left, Position right) => left.Equals(right);

    /// <summary>True if the epochs or the offsets differ.</summary>
    public static bool operator !=(Position left, Position right) => !left.Equals(right);
}
