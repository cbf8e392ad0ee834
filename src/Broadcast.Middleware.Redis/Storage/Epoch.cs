using System.Globalization;
using System.Security.Cryptography;

namespace Broadcast.Middleware.Redis.Storage;

/// <summary>
/// Creates and parses epochs. A later epoch of a group normally has a larger number. Redis stores an epoch as 16
/// hexadecimal digits, because a Lua number cannot represent all 64-bit integers.
/// </summary>
/// <remarks>
/// The upper 42 bits are the system time in milliseconds, and the lower 22 bits are random. Later epochs are larger, so
/// a node notices that Redis has returned to an earlier epoch. If the clocks of two nodes differ, a new epoch can be
/// smaller than the previous epoch. Then <see cref="Scripts.ReadForward"/> starts another epoch, and the nodes notify
/// the clients again.
/// </remarks>
static class Epoch
{
    const int RandomBits = 22;

    /// <summary>Creates an epoch.</summary>
    public static string Create() => Format(CreateNumber());

    /// <summary>Creates an epoch that is larger than <paramref name="earlier"/>.</summary>
    public static string CreateAfter(string earlier) => Format(Math.Max(CreateNumber(), Parse(earlier) + 1));

    public static ulong Parse(string epoch) =>
        ulong.Parse(epoch, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    static ulong CreateNumber() =>
        ((ulong)TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds() << RandomBits)
        | (uint)RandomNumberGenerator.GetInt32(1 << RandomBits);

    static string Format(ulong epoch) => epoch.ToString("x16", CultureInfo.InvariantCulture);
}
