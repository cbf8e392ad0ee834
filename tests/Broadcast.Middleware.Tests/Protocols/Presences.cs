using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Protocols;

static class Presences
{
    /// <summary>How many groups have states, watchers or subscriptions.</summary>
    public static int Followed(Presence presence) => Volatile.Read(ref Count(presence));

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_count")]
    static extern ref int Count(Presence presence);
}
