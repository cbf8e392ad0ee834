using System.Net.WebSockets;
using System.Text;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Clustering;

/// <summary>
/// Encodes and decodes messages between nodes. All messages have the same fields. Unused fields are empty.
/// </summary>
static class NodeCodec
{
    enum Kind : byte
    {
        Answer = 1,
        SendToConnection,
        SendToUser,
        Close,
        Join,
        Leave,
        SetState,
        ExtendAuthentication,
        EndAuthentication,
        JoinFiltered,
        SendToUserConnections,
    }

    public static ReadOnlyMemory<byte> Encode(NodeMessage message) => Encode(message, message switch
    {
        NodeAnswer answer => new Fields(Kind.Answer)
        {
            Succeeded = answer.Succeeded,
            Recovered = answer.Recovered,
            Position = answer.Position,
            Problem = answer.Problem,
            IsUnreachable = answer.IsUnreachable,
        },
        SendToConnection send => new Fields(Kind.SendToConnection) { Body = send.Message },
        SendToUser send => new Fields(Kind.SendToUser) { Body = send.Message },
        SendToUserConnections send =>
            new Fields(Kind.SendToUserConnections) { Body = Encode(send.Connections, send.Message) },
        CloseConnection close => new Fields(Kind.Close) { Status = close.Status, Reason = close.Reason },
        JoinGroup { Filter: null } join => new Fields(Kind.Join) { Group = join.Group, Replay = join.Replay },
        // A node with an older version of this package must not ignore the filter, so this request has its own kind.
        JoinGroup join => new Fields(Kind.JoinFiltered)
        {
            Group = join.Group,
            Replay = join.Replay,
            Body = Encoding.UTF8.GetBytes(join.Filter.ToString()),
        },
        LeaveGroup leave => new Fields(Kind.Leave) { Group = leave.Group },
        SetGroupState set => new Fields(Kind.SetState) { Group = set.Group, Body = set.State },
        ExtendAuthentication extend => new Fields(Kind.ExtendAuthentication)
        {
            Group = extend.Extension.HomeGroup,
            Body = AuthenticationCodec.Encode(extend.Extension),
        },
        EndAuthentication => new Fields(Kind.EndAuthentication),
        _ => throw new ArgumentException(
            $"{nameof(NodeCodec)} has no encoding for {message.GetType()}. Add an encoding.", nameof(message)),
    });

    /// <summary>Decodes a message.</summary>
    /// <remarks>
    /// A request with invalid content becomes an <see cref="InvalidRequest"/>, so that its sender gets an answer. An
    /// exception means that a message to a connection may be lost.
    /// </remarks>
    /// <exception cref="InvalidDataException">The bytes are not a valid message of a node.</exception>
    public static NodeMessage Decode(ReadOnlyMemory<byte> bytes)
    {
        var reader = new NodeReader(bytes);
        reader.ReadVersion();
        var kind = (Kind)reader.ReadByte();
        var (id, from, target) = (reader.ReadInt64(), reader.ReadString(), reader.ReadString());
        try
        {
            return DecodeContent(reader, kind, id, from, target);
        }
        catch (InvalidDataException exception)
        {
            if (kind == Kind.Answer) return NodeAnswer.Failed(id, from, target, exception.Message);
            if (kind is Kind.SendToConnection or Kind.SendToUser or Kind.SendToUserConnections) throw;
            return new InvalidRequest(id, from, target, exception.Message);
        }
    }

    static NodeMessage DecodeContent(NodeReader reader, Kind kind, long id, string from, string target)
    {
        var fields = new Fields(kind)
        {
            Group = reader.ReadStringOrNull(),
            Status = (WebSocketCloseStatus)reader.ReadInt32(),
            Reason = reader.ReadStringOrNull(),
            Replay = CreateReplay(reader.ReadStringOrNull(), reader.ReadInt32()),
            Succeeded = reader.ReadByte() == 1,
            Recovered = reader.ReadByte() switch { 2 => true, 1 => false, _ => null },
            Position = ParsePosition(reader.ReadStringOrNull()),
            Problem = reader.ReadStringOrNull(),
            IsUnreachable = reader.ReadByte() == 1,
            Body = reader.Rest,
        };
        return kind switch
        {
            Kind.Answer => new NodeAnswer(
                id,
                from,
                target,
                fields.Succeeded,
                fields.Recovered,
                fields.Position,
                fields.Problem,
                fields.IsUnreachable),
            Kind.SendToConnection => new SendToConnection(from, target, fields.Body),
            Kind.SendToUser => new SendToUser(from, target, fields.Body),
            Kind.SendToUserConnections => DecodeSend(from, target, fields.Body),
            Kind.Close => new CloseConnection(id, from, target, fields.Status, fields.Reason),
            Kind.Join => new JoinGroup(id, from, target, fields.RequiredGroup, fields.Replay),
            Kind.JoinFiltered =>
                new JoinGroup(id, from, target, fields.RequiredGroup, fields.Replay, ParseFilter(fields.Body)),
            Kind.Leave => new LeaveGroup(id, from, target, fields.RequiredGroup),
            Kind.SetState => new SetGroupState(id, from, target, fields.RequiredGroup, fields.Body),
            Kind.ExtendAuthentication => new ExtendAuthentication(
                id, from, target, AuthenticationCodec.Decode(target, fields.Group, fields.Body)),
            Kind.EndAuthentication => new EndAuthentication(id, from, target),
            _ => new UnknownRequest(id, from, target),
        };
    }

    static ReadOnlyMemory<byte> Encode(NodeMessage message, Fields fields)
    {
        var writer = new NodeWriter(fields.Body.Length + 128);
        writer.WriteVersion();
        writer.Write((byte)fields.Kind);
        writer.Write(message.Id);
        writer.Write(message.From);
        writer.Write(message.Target);
        writer.WriteOrNull(fields.Group);
        writer.Write((int)fields.Status);
        writer.WriteOrNull(fields.Reason);
        writer.WriteOrNull(fields.Replay.AfterPosition?.ToString());
        writer.Write(fields.Replay.MessagesOr(-1));
        writer.Write((byte)(fields.Succeeded ? 1 : 0));
        writer.Write((byte)(fields.Recovered switch { true => 2, false => 1, null => 0 }));
        writer.WriteOrNull(fields.Position?.ToString());
        writer.WriteOrNull(fields.Problem);
        writer.Write((byte)(fields.IsUnreachable ? 1 : 0));
        writer.WriteRest(fields.Body.Span);
        return writer.Written;
    }

    static ReadOnlyMemory<byte> Encode(IReadOnlyCollection<string> connections, ReadOnlyMemory<byte> message)
    {
        var writer = new NodeWriter((connections.Count * 32) + message.Length + 4);
        writer.Write(connections);
        writer.WriteRest(message.Span);
        return writer.Written;
    }

    static SendToUserConnections DecodeSend(string from, string target, ReadOnlyMemory<byte> body)
    {
        var reader = new NodeReader(body);
        return new(from, target, reader.ReadStrings(), reader.Rest);
    }

    static Replay CreateReplay(string? after, int messages) =>
        ParsePosition(after) is { } position ? Replay.After(position) : messages >= 0 ? Replay.Last(messages) : default;

    static SubscriptionFilter ParseFilter(ReadOnlyMemory<byte> text) =>
        SubscriptionFilter.Parse(Encoding.UTF8.GetString(text.Span), FilterLimits.ForNodes, out var problem)
        ?? throw new InvalidDataException($"Another node sent an invalid filter. {problem}");

    static Position? ParsePosition(string? text)
    {
        if (text is null) return null;
        if (Position.TryParse(text, out var position)) return position;
        throw new InvalidDataException(
            "Another node sent an invalid position. Run the same package version on all nodes.");
    }

    readonly record struct Fields(Kind Kind)
    {
        public string? Group { get; init; }
        public WebSocketCloseStatus Status { get; init; }
        public string? Reason { get; init; }
        public Replay Replay { get; init; }
        public bool Succeeded { get; init; }
        public bool? Recovered { get; init; }
        public Position? Position { get; init; }
        public string? Problem { get; init; }
        public bool IsUnreachable { get; init; }
        public ReadOnlyMemory<byte> Body { get; init; }

        public string RequiredGroup =>
            Group ?? throw new InvalidDataException(
                "Another node sent a request without a group. Run the same package version on all nodes.");
    }
}
