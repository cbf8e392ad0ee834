using System.Text;

namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>Shortens texts and payloads for the page.</summary>
static class Excerpt
{
    /// <summary>The maximum number of bytes of a text payload that the page receives.</summary>
    public const int MaxBytes = 4096;

    const int MaxNameLength = 200;
    const int MaxBinaryBytes = 512;

    /// <summary>Shortens a user ID or another name.</summary>
    public static string? FromName(string? name) =>
        name is { Length: > MaxNameLength } ? string.Concat(name.AsSpan(0, MaxNameLength), "…") : name;

    /// <summary>Returns the start of a payload. For a binary message, the result contains hexadecimal digits.</summary>
    public static string FromPayload(ReadOnlySpan<byte> payload, MessageType type, out bool isCut)
    {
        var length = Math.Min(payload.Length, type == MessageType.Text ? MaxBytes : MaxBinaryBytes);
        isCut = length < payload.Length;
        if (type != MessageType.Text) return Convert.ToHexStringLower(payload[..length]);
        // Do not cut within a character: the second and later bytes of a character start with the bits 10.
        while (isCut && length > 0 && (payload[length] & 0xC0) == 0x80) length--;
        return Encoding.UTF8.GetString(payload[..length]);
    }
}
