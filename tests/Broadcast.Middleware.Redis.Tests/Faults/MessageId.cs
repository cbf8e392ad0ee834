using System.Globalization;

namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>The content of a test message: its publisher and its number.</summary>
readonly record struct MessageId(int Publisher, int Number)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Publisher} {Number}");

    public static MessageId Parse(ReadOnlySpan<byte> text)
    {
        var space = text.IndexOf((byte)' ');
        return new(
            int.Parse(text[..space], CultureInfo.InvariantCulture),
            int.Parse(text[(space + 1)..], CultureInfo.InvariantCulture));
    }
}
