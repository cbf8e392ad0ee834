using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>Counts the groups of a node.</summary>
static class GroupCount
{
    /// <summary>Returns the number of groups, without the internal group of all connections.</summary>
    public static int Get(GroupDirectory groups) =>
        groups.Count - (groups.Find(GroupName.Everyone) is null ? 0 : 1);
}
