using System.Text.Json.Serialization;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>The response of <c>POST /publish</c>.</summary>
/// <param name="LocalRecipients">The number of recipients on this node.</param>
/// <param name="Offset">
/// The offset of the message in the group, or in the group of all connections. Null if the message is transient. Also null
/// if the group has no members and does not store the message.
/// </param>
/// <param name="IsDuplicate">True if the request had no effect, because an earlier request had the same ID.</param>
sealed record PublishResponse(
    int LocalRecipients,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] long? Offset,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] bool IsDuplicate);

/// <summary>The response of <c>GET /count</c>.</summary>
/// <param name="Connections">The number of connections.</param>
sealed record CountResponse(int Connections);

/// <summary>The presence state of a connection. A presence URL shows this state for each member.</summary>
/// <param name="Name">The display name.</param>
sealed record Person(string Name)
{
    /// <summary>Returns the person of a member. Null until the connect filter has set the name.</summary>
    public static Person? From(PresenceMember member) => member.TryGetState(DemoJson.Default.Person, out var person) ? person : null;
}
