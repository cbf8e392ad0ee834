using System.Buffers.Binary;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// Creates payloads. A payload of at least four bytes starts with the message ID. Each other byte depends on the
/// message ID and on its index, so that a test detects misplaced bytes.
/// </summary>
static class Payload
{
    public static byte[] Make(int id, int length)
    {
        var payload = new byte[length];
        for (var i = 0; i < length; i++) payload[i] = Byte(id, i);
        if (length >= 4) BinaryPrimitives.WriteInt32LittleEndian(payload, id);
        return payload;
    }

    public static bool Is(ReadOnlySpan<byte> payload, int id, int length)
    {
        if (payload.Length != length) return false;
        if (length >= 4 && BinaryPrimitives.ReadInt32LittleEndian(payload) != id) return false;
        for (var i = length >= 4 ? 4 : 0; i < length; i++)
        {
            if (payload[i] != Byte(id, i)) return false;
        }

        return true;
    }

    static byte Byte(int id, int index) => (byte)((id * 31) + index);
}
