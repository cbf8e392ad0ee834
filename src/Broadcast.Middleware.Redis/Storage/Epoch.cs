using System.Globalization;
using System.Security.Cryptography;

namespace Broadcast.Middleware.Redis.Storage;

/// <summary>
/// Creates and parses epochs. Redis stores an epoch as 16 hexadecimal digits, because a Lua number cannot represent all
/// 64-bit integers.
/// </summary>
static class Epoch
{
    /// <summary>Creates a random epoch. Node names use the same format.</summary>
    public static string Create()
    {
        Span<byte> random = stackalloc byte[8];
        RandomNumberGenerator.Fill(random);
        return Convert.ToHexStringLower(random);
    }

    public static ulong Parse(string epoch) =>
        ulong.Parse(epoch, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
}
