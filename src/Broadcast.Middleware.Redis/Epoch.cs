using System.Globalization;
using System.Security.Cryptography;

namespace Broadcast.Middleware;

/// <summary>Epochs in Redis: 16 hexadecimal digits, for its scripts' numbers are not wide enough.</summary>
static class Epoch
{
    public static string New()
    {
        Span<byte> random = stackalloc byte[8];
        RandomNumberGenerator.Fill(random);
        return Convert.ToHexStringLower(random);
    }

    public static ulong Read(string epoch) => ulong.Parse(epoch, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
}
