using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>The membership of a connection in a group.</summary>
/// <param name="Group">The group.</param>
/// <param name="Cursor">The cursor of the connection in the log of the group.</param>
readonly record struct Membership(Group Group, Cursor Cursor);
