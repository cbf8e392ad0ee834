using System.Globalization;

namespace WebDemo.Tests;

/// <summary>
/// The group and the message format that the publishers and receivers of <see cref="RollingRestartTests"/> share.
/// </summary>
static class MessageStream
{
    public const string Group = "stream";

    /// <summary>The message that ends the stream.</summary>
    public const string End = "end";

    public static string CreateText(string publisher, int number) => string.Create(CultureInfo.InvariantCulture, $"{publisher} {number}");

    /// <summary>Parses a message of a publisher. Returns false for the end of the stream, which has no publisher.</summary>
    public static bool TryParse(string text, out string publisher, out int number)
    {
        var parts = text.Split(' ');
        (publisher, number) = (parts[0], -1);
        return parts.Length == 2 && int.TryParse(parts[1], CultureInfo.InvariantCulture, out number);
    }
}
