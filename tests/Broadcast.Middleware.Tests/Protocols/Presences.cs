using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Protocols;

static class Presences
{
    /// <summary>The number of groups that have states, watchers or subscriptions.</summary>
    public static int Followed(Presence presence) => Volatile.Read(ref Count(presence));

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_count")]
    static extern ref int Count(Presence presence);
}
