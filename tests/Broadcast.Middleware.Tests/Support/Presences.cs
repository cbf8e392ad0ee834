using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Support;

static class Presences
{
    /// <summary>The number of groups that have states, watchers or subscriptions.</summary>
    public static int Followed(IPresence presence) => Volatile.Read(ref Count(States((PresenceService)presence)));

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "<presence>P")]
    static extern ref GroupPresence States(PresenceService service);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_followedCount")]
    static extern ref int Count(GroupPresence presence);
}
