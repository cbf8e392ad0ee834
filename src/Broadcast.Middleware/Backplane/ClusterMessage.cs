namespace Broadcast.Middleware;

/// <summary>A message on its way between nodes: what is to be known of it, and its payload.</summary>
/// <param name="Message">The message; read, its payload is a part of what it was read from.</param>
/// <param name="Excluded">The connections that do not get it.</param>
/// <param name="PublishedAt">When, by the clock of the node where it was published.</param>
/// <param name="SharedId">The same for its copies in several groups; 0 if there are none.</param>
readonly record struct ClusterMessage(Message Message, IReadOnlyCollection<string> Excluded, DateTimeOffset PublishedAt, long SharedId)
{
    [Flags]
    enum Parts : byte
    {
        None = 0,
        Binary = 1,
        Json = 2,
    }

    public ReadOnlyMemory<byte> Encode()
    {
        var writer = new NodeWriter(Message.Payload.Length + 128);
        Write(writer);
        return writer.Written;
    }

    public void Write(NodeWriter writer)
    {
        writer.WriteVersion();
        writer.Write((byte)((Message.Type == MessageType.Binary ? Parts.Binary : 0) | (Message.IsJson ? Parts.Json : 0)));
        writer.Write(PublishedAt);
        writer.Write(SharedId);
        writer.WriteOrNull(Message.Key);
        writer.WriteOrNull(Message.Sender?.ConnectionId);
        writer.WriteOrNull(Message.Sender?.UserId);
        writer.Write(Excluded.Count);
        foreach (var id in Excluded) writer.Write(id);
        writer.WriteRest(Message.Payload.Span);
    }

    /// <exception cref="InvalidDataException">It was not written here.</exception>
    public static ClusterMessage Decode(ReadOnlyMemory<byte> bytes)
    {
        var reader = new NodeReader(bytes);
        return Read(ref reader);
    }

    public static ClusterMessage Read(ref NodeReader reader)
    {
        reader.ReadVersion();
        var parts = (Parts)reader.ReadByte();
        var (publishedAt, sharedId) = (reader.ReadTime(), reader.ReadInt64());
        var (key, sender, user) = (reader.ReadStringOrNull(), reader.ReadStringOrNull(), reader.ReadStringOrNull());
        var excluded = new string[reader.ReadCount()];
        for (var i = 0; i < excluded.Length; i++) excluded[i] = reader.ReadString();
        var message = new Message(reader.Rest, parts.HasFlag(Parts.Binary) ? MessageType.Binary : MessageType.Text)
        {
            IsJson = parts.HasFlag(Parts.Json),
            Key = key,
            Sender = sender is null ? null : new(sender, user),
        };
        return new(message, excluded, publishedAt, sharedId);
    }
}
