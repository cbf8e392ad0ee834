using System.Globalization;

namespace Broadcast.Middleware.Redis.Tests.Apps;

/// <summary>A message says who has published it, and as which of its own; nothing else.</summary>
readonly record struct MessageId(int Publisher, int Number)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Publisher} {Number}");

    public static MessageId Parse(ReadOnlySpan<byte> text)
    {
        var space = text.IndexOf((byte)' ');
        return new(int.Parse(text[..space], CultureInfo.InvariantCulture), int.Parse(text[(space + 1)..], CultureInfo.InvariantCulture));
    }
}
