using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Broadcast.Middleware.Publishing;

/// <summary>
/// Checks the messages that the app publishes. The frame parser has already checked messages from clients.
/// </summary>
/// <param name="maxBytes">See <see cref="BroadcastOptions.MaxBacklogBytes"/>.</param>
sealed class MessageValidator(int maxBytes)
{
    const int MaxIdLength = 128;
    const int MaxKeyLength = 256;

    /// <exception cref="ArgumentException">The message is invalid.</exception>
    public void ThrowIfInvalid(Message message)
    {
        if (message.Type is not (MessageType.Text or MessageType.Binary))
        {
            throw new ArgumentException(
                "The message has no type. Create it with Message.FromText, or pass a MessageType to the constructor.",
                nameof(message));
        }

        if (message.Payload.Length > maxBytes)
        {
            throw new ArgumentException(
                $"The message has {message.Payload.Length} bytes, but {nameof(BroadcastOptions.MaxBacklogBytes)} is " +
                $"{maxBytes}. Raise the option, or split the message.",
                nameof(message));
        }

        ThrowIfMetadataInvalid(message);

        // A receiver must close the connection if a text message is not valid UTF-8 (RFC 6455, section 8.1).
        if (message.Type == MessageType.Text && !Utf8.IsValid(message.Payload.Span))
        {
            throw new ArgumentException(
                "The text message is not valid UTF-8. Encode the text as UTF-8, or use MessageType.Binary.",
                nameof(message));
        }

        if (message.IsJson && !IsJson(message))
        {
            throw new ArgumentException(
                "IsJson is set, but the payload is not valid JSON text. Fix the payload, or clear IsJson.",
                nameof(message));
        }
    }

    /// <summary>
    /// Checks only the key, the ID and their flags. A filter can set these values without a change of the payload.
    /// </summary>
    /// <exception cref="ArgumentException">The message is invalid.</exception>
    public static void ThrowIfMetadataInvalid(Message message)
    {
        if ((message.Key is not null || message.RemoveKey) && KeyProblem(message) is { } keyProblem)
            throw new ArgumentException(keyProblem, nameof(message));

        if (message.Id is { } id && IdProblem(id, message.IsTransient) is { } problem)
            throw new ArgumentException(problem, nameof(message));
    }

    static string? KeyProblem(in Message message)
    {
        if (message.Key is not { } key)
            return "RemoveKey is set, but the message has no key. Set Key to the key to remove, or clear RemoveKey.";
        if (key.Length is 0 or > MaxKeyLength)
        {
            return $"The message key has {key.Length} characters. Use 1 to {MaxKeyLength} characters, or set Key to " +
                "null.";
        }

        if (HasUnpairedSurrogate(key))
        {
            return "The message key contains an unpaired surrogate (U+D800 to U+DFFF), which UTF-8 cannot encode. " +
                "Use valid Unicode text, or set Key to null.";
        }

        return message is { RemoveKey: true, IsTransient: true }
            ? "A transient message cannot remove a key, because the server stores nothing about it. " +
              "Clear IsTransient, or clear RemoveKey."
            : null;
    }

    static string? IdProblem(string id, bool isTransient)
    {
        if (id.Length is 0 or > MaxIdLength)
        {
            return $"The message ID has {id.Length} characters. Use 1 to {MaxIdLength} characters, for example a " +
                "GUID, or set Id to null.";
        }

        // In UTF-8, each unpaired surrogate becomes the same character. So a backplane could not distinguish such IDs.
        if (HasUnpairedSurrogate(id))
        {
            return "The message ID contains an unpaired surrogate (U+D800 to U+DFFF), which UTF-8 cannot encode. Use " +
                "valid Unicode text, for example a GUID, or set Id to null.";
        }

        return isTransient
            ? "A transient message cannot have an ID, because the server stores nothing about it. Clear IsTransient, " +
              "or set Id to null."
            : null;
    }

    static bool HasUnpairedSurrogate(string text)
    {
        Rune rune;
        for (var i = 0; i < text.Length; i += rune.Utf16SequenceLength)
        {
            if (!Rune.TryGetRuneAt(text, i, out rune)) return true;
        }

        return false;
    }

    static bool IsJson(Message message)
    {
        if (message.Type != MessageType.Text) return false;
        var reader = new Utf8JsonReader(message.Payload.Span);
        try
        {
            while (reader.Read()) { }
            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }
}
