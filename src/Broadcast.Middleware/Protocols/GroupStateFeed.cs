using System.Text;
using Broadcast.Middleware.Presence;

namespace Broadcast.Middleware.Protocols;

/// <summary>
/// Stores the states of the members of a group as JSON, and sends the states to the subscribed clients.
/// </summary>
/// <param name="group">The name of the group.</param>
sealed class GroupStateFeed(string group)
    : StateFeed(CreateHead("groupStateSnapshot", group), CreateHead("groupStateUpdate", group))
{
    public override void Set(string connectionId, string? userId, ReadOnlyMemory<byte> state, DateTimeOffset at)
    {
        var isSet = GroupState.IsValid(state);
        if (!isSet && !Has(connectionId)) return;
        Apply(new ItemChange(connectionId, WriteItem(connectionId, userId, isSet ? state : default, at), !isSet));
    }

    static ReadOnlyMemory<byte> WriteItem(
        string connectionId, string? userId, ReadOnlyMemory<byte> state, DateTimeOffset at) =>
        JsonProtocol.Write((connectionId, userId, state, at), static (writer, item) =>
        {
            writer.WriteString("connectionId"u8, item.connectionId);
            if (item.userId is not null) writer.WriteString("userId"u8, item.userId);
            if (!item.state.IsEmpty)
            {
                writer.WritePropertyName("state"u8);
                writer.WriteRawValue(item.state.Span, skipInputValidation: true);
            }

            writer.WriteNumber("updatedAt"u8, item.at.ToUnixTimeMilliseconds());
        });

    static string CreateHead(string type, string group)
    {
        var message = JsonProtocol.Write((type, group), static (writer, message) =>
        {
            writer.WriteString("type"u8, message.type);
            writer.WriteString("group"u8, message.group);
            writer.WriteStartArray("items"u8);
            writer.WriteEndArray();
        });
        return Encoding.UTF8.GetString(message.Span)[..^"]}".Length];
    }
}
