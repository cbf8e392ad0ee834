using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Support;

static class Presences
{
    /// <summary>The number of groups that have states, watchers or subscriptions.</summary>
    public static int Followed(IPresence presence) => Volatile.Read(ref Count(States((PresenceService)presence)));

    /// <summary>True while this node polls the members of other nodes in the group. The group must have states, watchers or subscriptions.</summary>
    public static bool IsPolled(IPresence presence, string group)
    {
        var states = States((PresenceService)presence);
        lock (Gate(states)) return Groups(states)[group].IsPolled;
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "<presence>P")]
    static extern ref GroupPresence States(PresenceService service);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_followedCount")]
    static extern ref int Count(GroupPresence presence);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_gate")]
    static extern ref Lock Gate(GroupPresence presence);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_followed")]
    static extern ref Dictionary<string, FollowedGroup> Groups(GroupPresence presence);
}
