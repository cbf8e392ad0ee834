using Broadcast.Middleware.Dashboard.Figures;

namespace Broadcast.Middleware.Dashboard.Requests;

/// <summary>The first message to a page.</summary>
sealed class HelloReply
{
    public string Type { get; } = "hello";
    public required string Broadcast { get; init; }
    public required string Node { get; init; }
    public required bool IsCluster { get; init; }
    public required string Version { get; init; }
    public required int MaxBacklogBytes { get; init; }
    public required IReadOnlyList<Sample> Samples { get; init; }
}

/// <summary>The largest groups of this node.</summary>
sealed class GroupsReply
{
    public string Type { get; } = "groups";
    public required long Id { get; init; }

    /// <summary>The number of groups with a matching name.</summary>
    public required int Total { get; init; }

    public required IReadOnlyList<GroupItem> Groups { get; init; }
}

/// <summary>A group in a list.</summary>
sealed class GroupItem
{
    public required string Name { get; init; }
    public required int Members { get; init; }
}

/// <summary>Members of a group, and the newest messages of this group.</summary>
sealed class GroupReply
{
    public string Type { get; } = "group";
    public required long Id { get; init; }
    public required string Name { get; init; }

    /// <summary>False if this node has no such group.</summary>
    public required bool Exists { get; init; }

    /// <summary>The number of members on this node.</summary>
    public required int Total { get; init; }

    /// <summary>The number of members on all nodes. Null without a cluster, or if the cluster is unreachable.</summary>
    public required long? ClusterTotal { get; init; }

    /// <summary>At most <see cref="GroupQueries.MaxMembers"/> members.</summary>
    public required IReadOnlyList<MemberItem> Members { get; init; }

    /// <summary>At most <see cref="GroupQueries.MaxMessages"/> messages. The newest message is first.</summary>
    public required IReadOnlyList<MessageItem> Messages { get; init; }
}

/// <summary>A member of a group.</summary>
sealed class MemberItem
{
    public required string Id { get; init; }
    public required string? User { get; init; }
    public required string? Address { get; init; }

    /// <summary>The time of the connect, in milliseconds since 1970.</summary>
    public required long ConnectedAt { get; init; }
}

/// <summary>A message of a group.</summary>
sealed class MessageItem
{
    public required long Offset { get; init; }

    /// <summary>The time of the publish in milliseconds since 1970. Null if the log stores no times.</summary>
    public required long? Time { get; init; }

    public required string? Key { get; init; }
    public required bool IsBinary { get; init; }

    /// <summary>The size of the whole message in bytes.</summary>
    public required int Size { get; init; }

    /// <summary>The start of the message. For a binary message, the text contains hexadecimal digits.</summary>
    public required string Text { get; init; }

    /// <summary>True if <see cref="Text"/> is not the whole message.</summary>
    public required bool IsCut { get; init; }
}

/// <summary>The nodes with a dashboard.</summary>
sealed class NodesReply
{
    public string Type { get; } = "nodes";
    public required long Id { get; init; }
    public required IReadOnlyList<NodeItem> Nodes { get; init; }
}

/// <summary>A node. The node stores this object as JSON in the backplane.</summary>
sealed class NodeItem
{
    public required string Name { get; init; }

    /// <summary>The time of the start, in milliseconds since 1970.</summary>
    public required long Started { get; init; }

    public required int Connections { get; init; }
    public required int Groups { get; init; }

    /// <summary>True for the node to which the page is connected.</summary>
    public bool IsThis { get; init; }
}

/// <summary>Confirms a publish or a close.</summary>
sealed class DoneReply
{
    public string Type { get; } = "done";
    public required long Id { get; init; }
    public required string Text { get; init; }
}

/// <summary>Describes the problem of a request and the fix.</summary>
sealed class ProblemReply
{
    public string Type { get; } = "problem";

    /// <summary>The number of the request. 0 if the server cannot read the request.</summary>
    public required long Id { get; init; }

    public required string Text { get; init; }
}
