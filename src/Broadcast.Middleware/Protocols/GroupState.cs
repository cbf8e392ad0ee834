using System.Text.Json;

namespace Broadcast.Middleware.Protocols;

/// <summary>Checks presence states that clients can read and set.</summary>
static class GroupState
{
    /// <summary>Returns true if the state is a JSON object whose values are all strings.</summary>
    public static bool IsValid(ReadOnlyMemory<byte> state)
    {
        var reader = new Utf8JsonReader(state.Span);
        try
        {
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) return false;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                // GetString throws if the text is not valid Unicode.
                reader.GetString();
                if (!reader.Read() || reader.TokenType != JsonTokenType.String) return false;
                reader.GetString();
            }

            return !reader.Read();
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            return false;
        }
    }
}
