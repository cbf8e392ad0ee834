namespace Broadcast.Middleware.Testing;

/// <summary>A publish that a <see cref="RecordingBroadcaster"/> recorded.</summary>
public sealed class RecordedPublish : IEquatable<RecordedPublish>
{
    internal RecordedPublish(Message message, Recipients recipients, PublishResult result) =>
        (Message, Recipients, Result) = (message, recipients, result);

    /// <summary>The message, with a copy of the payload.</summary>
    public Message Message { get; }

    /// <summary>The payload as text.</summary>
    public string Text => Message.ToString();

    /// <summary>The recipients.</summary>
    public Recipients Recipients { get; }

    /// <summary>The result that the caller received.</summary>
    public PublishResult Result { get; }

    /// <inheritdoc />
    public bool Equals(RecordedPublish? other) => other is not null
        && Message == other.Message && Recipients == other.Recipients && Result == other.Result;

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as RecordedPublish);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Message, Recipients, Result);

    /// <summary>Returns a description for assertion messages and debuggers.</summary>
    public override string ToString()
    {
        var payload = Message.Type == MessageType.Text ? $"'{Text}'" : $"{Message.Payload.Length} bytes";
        return $"publish {payload} to {Describe(Recipients)}";
    }

    internal static string Describe(Recipients recipients) => recipients.Excluded.Count == 0
        ? recipients.ToString()
        : $"{recipients}, except {string.Join(", ", recipients.Excluded)}";
}
