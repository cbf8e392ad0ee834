using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Clustering;

/// <summary>A message, with all of its properties, in the format that nodes exchange.</summary>
/// <param name="Message">The message. The payload of a decoded message references the encoded bytes.</param>
/// <param name="Excluded">The IDs of the connections that do not receive the message.</param>
/// <param name="PublishedAt">The publish time, by the clock of the publishing node.</param>
/// <param name="CopyId">
/// The ID that all copies of a message to several groups share. 0 for a message to one group.
/// </param>
readonly record struct ClusterMessage(
    Message Message, IReadOnlyCollection<string> Excluded, DateTimeOffset PublishedAt, long CopyId)
{
    [Flags]
    enum Parts : byte
    {
        None = 0,
        Binary = 1,
        Json = 2,
        NoCompression = 4,
        Transient = 8,
        Id = 16,
        RemovesKey = 32,
        Tags = 64,
        Trace = 128,
    }

    /// <summary>The <c>traceparent</c> of the publisher. Null if the publisher has no sampled span.</summary>
    public string? TraceParent { get; init; }

    public EntryMetadata? Metadata => EntryMetadata.Create(Message, ExcludedConnections.Create(Excluded));

    public ReadOnlyMemory<byte> Encode()
    {
        var writer = new NodeWriter(Message.Payload.Length + 128);
        Write(writer);
        return writer.Written;
    }

    public void Write(NodeWriter writer)
    {
        writer.WriteVersion();
        var parts = Message.Type == MessageType.Binary ? Parts.Binary : Parts.None;
        if (Message.IsJson) parts |= Parts.Json;
        if (Message.DisableCompression) parts |= Parts.NoCompression;
        if (Message.IsTransient) parts |= Parts.Transient;
        if (Message.Id is not null) parts |= Parts.Id;
        if (Message.RemoveKey) parts |= Parts.RemovesKey;
        if (Message.Tags is not null) parts |= Parts.Tags;
        if (TraceParent is not null) parts |= Parts.Trace;
        writer.Write((byte)parts);
        writer.Write(PublishedAt);
        writer.Write(CopyId);
        writer.WriteOrNull(Message.Key);
        writer.WriteOrNull(Message.Sender?.ConnectionId);
        writer.WriteOrNull(Message.Sender?.UserId);
        writer.Write(Excluded);
        if (Message.Id is { } messageId) writer.Write(messageId);
        if (Message.Tags is { } tags) Write(writer, tags);
        if (TraceParent is not null) writer.Write(TraceParent);
        writer.WriteRest(Message.Payload.Span);
    }

    /// <exception cref="InvalidDataException">The bytes are not a valid message.</exception>
    public static ClusterMessage Decode(ReadOnlyMemory<byte> bytes)
    {
        var reader = new NodeReader(bytes);
        return Read(ref reader);
    }

    public static ClusterMessage Read(ref NodeReader reader)
    {
        reader.ReadVersion();
        var parts = (Parts)reader.ReadByte();
        var (publishedAt, copyId) = (reader.ReadTime(), reader.ReadInt64());
        var (key, sender, user) = (reader.ReadStringOrNull(), reader.ReadStringOrNull(), reader.ReadStringOrNull());
        var excluded = reader.ReadStrings();
        var messageId = parts.HasFlag(Parts.Id) ? reader.ReadString() : null;
        var tags = parts.HasFlag(Parts.Tags) ? ReadTags(ref reader) : null;
        var traceParent = parts.HasFlag(Parts.Trace) ? reader.ReadString() : null;
        var message = new Message(reader.Rest, parts.HasFlag(Parts.Binary) ? MessageType.Binary : MessageType.Text)
        {
            IsJson = parts.HasFlag(Parts.Json),
            DisableCompression = parts.HasFlag(Parts.NoCompression),
            IsTransient = parts.HasFlag(Parts.Transient),
            Key = key,
            RemoveKey = parts.HasFlag(Parts.RemovesKey),
            Id = messageId,
            Tags = tags,
            Sender = sender is null ? null : new(sender, user),
        };
        return new(message, excluded, publishedAt, copyId) { TraceParent = traceParent };
    }

    static void Write(NodeWriter writer, MessageTags tags)
    {
        writer.Write(tags.Count);
        foreach (ref readonly var tag in tags.Span)
        {
            writer.Write(tag.Key);
            writer.Write(tag.Value);
        }
    }

    static MessageTags ReadTags(ref NodeReader reader)
    {
        var tags = new (string, string)[reader.ReadCount()];
        for (var i = 0; i < tags.Length; i++) tags[i] = (reader.ReadString(), reader.ReadString());
        try
        {
            return MessageTags.Create(tags);
        }
        catch (ArgumentException exception)
        {
            throw new InvalidDataException(
                "Another node sent a message with invalid tags. Run the same package version on all nodes.", exception);
        }
    }
}
