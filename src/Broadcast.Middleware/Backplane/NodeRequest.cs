using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>What one node can ask of another that has a connection, or a user.</summary>
enum NodeRequestKind : byte
{
    Answer = 1,
    SendToConnection,
    SendToUser,
    Close,
    Join,
    Leave,
    SetState,
}

/// <summary>Something one node asks of another, or the answer to it.</summary>
/// <param name="Kind">What.</param>
/// <param name="Id">By which the asking node knows the answer; 0 if it wants none.</param>
/// <param name="From">The asking node.</param>
/// <param name="Target">The connection or the user.</param>
sealed record NodeRequest(NodeRequestKind Kind, long Id, string From, string Target)
{
    public string? Group { get; init; }

    /// <summary>For a close.</summary>
    public WebSocketCloseStatus Status { get; init; }

    public string? Reason { get; init; }

    /// <summary>For a join.</summary>
    public Replay Replay { get; init; }

    /// <summary>The answer; all but a join answer with the first part.</summary>
    public JoinResult Result { get; init; }

    /// <summary>Why there is no other answer: what the other node's method has thrown.</summary>
    public string? Problem { get; init; }

    /// <summary>That was a <see cref="BackplaneException"/>.</summary>
    public bool IsUnreachable { get; init; }

    /// <summary>A state, or a message as <see cref="ClusterMessage"/> writes it.</summary>
    public ReadOnlyMemory<byte> Body { get; init; }

    public ReadOnlyMemory<byte> Encode()
    {
        var writer = new NodeWriter(Body.Length + 128);
        writer.WriteVersion();
        writer.Write((byte)Kind);
        writer.Write(Id);
        writer.Write(From);
        writer.Write(Target);
        writer.WriteOrNull(Group);
        writer.Write((int)Status);
        writer.WriteOrNull(Reason);
        writer.WriteOrNull(Replay.AfterPosition?.ToString());
        writer.Write(Replay.MessagesOr(-1));
        writer.Write((byte)(Result.Joined ? 1 : 0));
        writer.Write((byte)(Result.Recovered is { } recovered ? recovered ? 2 : 1 : 0));
        writer.WriteOrNull(Result.Position?.ToString());
        writer.WriteOrNull(Problem);
        writer.Write((byte)(IsUnreachable ? 1 : 0));
        writer.WriteRest(Body.Span);
        return writer.Written;
    }

    /// <exception cref="InvalidDataException">It was not written here.</exception>
    public static NodeRequest Decode(ReadOnlyMemory<byte> bytes)
    {
        var reader = new NodeReader(bytes);
        reader.ReadVersion();
        return new((NodeRequestKind)reader.ReadByte(), reader.ReadInt64(), reader.ReadString(), reader.ReadString())
        {
            Group = reader.ReadStringOrNull(),
            Status = (WebSocketCloseStatus)reader.ReadInt32(),
            Reason = reader.ReadStringOrNull(),
            Replay = ReplayOf(reader.ReadStringOrNull(), reader.ReadInt32()),
            Result = new(reader.ReadByte() == 1, reader.ReadByte() switch { 2 => true, 1 => false, _ => null }, PositionOf(reader.ReadStringOrNull())),
            Problem = reader.ReadStringOrNull(),
            IsUnreachable = reader.ReadByte() == 1,
            Body = reader.Rest,
        };
    }

    static Replay ReplayOf(string? after, int messages) =>
        PositionOf(after) is { } position ? Replay.After(position) : messages >= 0 ? Replay.Last(messages) : default;

    static Position? PositionOf(string? text) =>
        text is null ? null : Position.TryParse(text, out var position) ? position : throw new InvalidDataException("A position that another node has sent cannot be read.");
}
