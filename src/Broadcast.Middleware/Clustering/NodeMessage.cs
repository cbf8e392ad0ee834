using System.Net.WebSockets;
using Broadcast.Middleware.Connections;

namespace Broadcast.Middleware.Clustering;

/// <summary>A message from one node to the inbox of another node.</summary>
/// <param name="Id">The ID that the answer repeats. 0 if the sender expects no answer.</param>
/// <param name="From">The ID of the sending node.</param>
/// <param name="Target">The ID of the connection or the user.</param>
abstract record NodeMessage(long Id, string From, string Target);

/// <summary>Sends a message to a connection.</summary>
/// <remarks>The bytes of the message are an encoded <see cref="ClusterMessage"/>.</remarks>
sealed record SendToConnection(string From, string Target, ReadOnlyMemory<byte> Message) : NodeMessage(0, From, Target);

/// <summary>Sends a message to the connections of a user.</summary>
/// <remarks>The bytes of the message are an encoded <see cref="ClusterMessage"/>.</remarks>
sealed record SendToUser(string From, string Target, ReadOnlyMemory<byte> Message) : NodeMessage(0, From, Target);

/// <summary>Sends a message with an ID to some connections of a user.</summary>
/// <remarks>The bytes of the message are an encoded <see cref="ClusterMessage"/>.</remarks>
sealed record SendToUserConnections(
    string From, string Target, IReadOnlyCollection<string> Connections, ReadOnlyMemory<byte> Message)
    : NodeMessage(0, From, Target);

/// <summary>Closes a connection.</summary>
sealed record CloseConnection(long Id, string From, string Target, WebSocketCloseStatus Status, string? Reason)
    : NodeMessage(Id, From, Target);

/// <summary>Adds a connection to a group. The filter is null if the connection receives every message.</summary>
sealed record JoinGroup(
    long Id, string From, string Target, string Group, Replay Replay, SubscriptionFilter? Filter = null)
    : NodeMessage(Id, From, Target);

/// <summary>Removes a connection from a group.</summary>
sealed record LeaveGroup(long Id, string From, string Target, string Group) : NodeMessage(Id, From, Target);

/// <summary>Sets the presence state of a connection in a group.</summary>
sealed record SetGroupState(long Id, string From, string Target, string Group, ReadOnlyMemory<byte> State)
    : NodeMessage(Id, From, Target);

/// <summary>Replaces the authentication of a connection.</summary>
sealed record ExtendAuthentication(long Id, string From, string Target, AuthenticationExtension Extension)
    : NodeMessage(Id, From, Target);

/// <summary>Closes a connection as if its authentication had expired.</summary>
sealed record EndAuthentication(long Id, string From, string Target) : NodeMessage(Id, From, Target);

/// <summary>A request of an unknown kind. The sender has a newer version of this package.</summary>
sealed record UnknownRequest(long Id, string From, string Target) : NodeMessage(Id, From, Target);

/// <summary>A request that this node cannot read or that has invalid content.</summary>
sealed record InvalidRequest(long Id, string From, string Target, string Problem) : NodeMessage(Id, From, Target);

/// <summary>The answer to a request.</summary>
/// <remarks>
/// <c>Recovered</c> and <c>Position</c> belong to a join: see <see cref="JoinResult"/>. <c>Problem</c> is the message
/// of an exception, or null. <c>IsUnreachable</c> is true if the exception was a <see cref="BackplaneException"/>.
/// </remarks>
sealed record NodeAnswer(
    long Id,
    string From,
    string Target,
    bool Succeeded,
    bool? Recovered,
    Position? Position,
    string? Problem,
    bool IsUnreachable)
    : NodeMessage(Id, From, Target)
{
    public static NodeAnswer Failed(long id, string from, string target, string problem, bool isUnreachable = false) =>
        new(id, from, target, false, null, null, problem, isUnreachable);
}
