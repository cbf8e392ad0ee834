using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Unicode;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Presence;

/// <summary>Writes the JSON that the clients of a presence endpoint receive for a member.</summary>
/// <param name="select">
/// Writes the data that clients may see. Returns false to hide the member. If this delegate is null, the class writes
/// the state of each member.
/// </param>
/// <param name="maxBytes">The maximum size of the JSON.</param>
/// <param name="logger">The logger.</param>
sealed class MemberWriter(Func<Utf8JsonWriter, PresenceMember, bool>? select, int maxBytes, BroadcastLogger logger)
{
    // The output is not HTML, so the writer escapes only the characters that JSON requires.
    static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes the JSON for a member that has left.</summary>
    public static ReadOnlyMemory<byte> WriteLeft(string connectionId)
    {
        var output = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(output, Options))
        {
            writer.WriteStartObject();
            writer.WriteString("id"u8, connectionId);
            writer.WriteBoolean("left"u8, true);
            writer.WriteEndObject();
        }

        return output.WrittenMemory;
    }

    /// <summary>Writes the JSON of a member. Returns empty memory for a hidden member.</summary>
    public ReadOnlyMemory<byte> Write(PresenceMember member)
    {
        try
        {
            var output = new ArrayBufferWriter<byte>();
            using (var writer = new Utf8JsonWriter(output, Options))
            {
                writer.WriteStartObject();
                writer.WriteString("id"u8, member.ConnectionId);
                if (select is null) WriteState(writer, member.State);
                else
                {
                    writer.WritePropertyName("state"u8);
                    if (!select(writer, member)) return default;
                }

                writer.WriteEndObject();
            }

            if (output.WrittenCount <= maxBytes) return output.WrittenMemory;
            throw new InvalidOperationException(
                $"The JSON of a member has {output.WrittenCount} bytes, but a quarter of " +
                $"{nameof(BroadcastOptions.MaxBacklogBytes)} is {maxBytes}. Write less data, or raise the option.");
        }
        catch (Exception exception)
        {
            // The delegate of the app threw an exception, or the JSON is too large. Hide only this member.
            logger.FilterFailed(member.ConnectionId, exception);
            return default;
        }
    }

    /// <summary>
    /// Writes the state of a member. Skips a state that is not JSON, because an app may store any bytes.
    /// </summary>
    static void WriteState(Utf8JsonWriter writer, ReadOnlyMemory<byte> state)
    {
        if (!IsJson(state.Span)) return;
        writer.WritePropertyName("state"u8);
        writer.WriteRawValue(state.Span, skipInputValidation: true);
    }

    static bool IsJson(ReadOnlySpan<byte> state)
    {
        if (state.IsEmpty || !Utf8.IsValid(state)) return false;
        try
        {
            var reader = new Utf8JsonReader(state);
            while (reader.Read())
            {
                // GetString throws if the text contains an escaped unpaired surrogate.
                if (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName) reader.GetString();
            }

            return true;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            return false;
        }
    }
}
