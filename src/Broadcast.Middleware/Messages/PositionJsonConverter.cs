using System.Text.Json;
using System.Text.Json.Serialization;

namespace Broadcast.Middleware;

/// <summary>
/// Writes a <see cref="Position"/> to JSON (RFC 8259) as the string of <see cref="Position.ToString"/>, because
/// JavaScript cannot represent most epochs as a number. <c>System.Text.Json</c> uses this converter by default.
/// </summary>
public sealed class PositionJsonConverter : JsonConverter<Position>
{
    /// <summary>Reads a position. Accepts only the text of <see cref="Position.ToString"/>.</summary>
    /// <param name="reader">The reader.</param>
    /// <param name="typeToConvert">The type <see cref="Position"/>.</param>
    /// <param name="options">The options. The converter does not use them.</param>
    /// <exception cref="JsonException">The JSON value is not a position.</exception>
    public override Position Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        var text = reader.TokenType == JsonTokenType.String ? reader.GetString() : null;
        return Position.TryParse(text, out var position) ? position : throw new JsonException(
            "The value is not a position. Use the text of a position, for example \"00c0ffee00c0ffee-42\".");
    }

    /// <summary>Writes a position.</summary>
    /// <param name="writer">The writer.</param>
    /// <param name="value">The position.</param>
    /// <param name="options">The options. The converter does not use them.</param>
    public override void Write(Utf8JsonWriter writer, Position value, JsonSerializerOptions options)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.WriteStringValue(value.ToString());
    }
}
