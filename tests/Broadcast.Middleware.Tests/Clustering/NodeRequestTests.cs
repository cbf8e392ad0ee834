using System.Net.WebSockets;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>Tests invalid requests and answers between nodes.</summary>
public sealed class NodeRequestTests : IDisposable
{
    const string Other = "other";
    const string InboxOfOther = "\u0001node:" + Other;

    readonly ManualBackplane _backplane = new();
    readonly TestEngine _node;

    public NodeRequestTests() => _node = new TestEngine(backplane: _backplane);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<string> InvalidRequests =>
    [
        "join without a group", "leave without a group", "state without a group", "join with an internal group", "join with an invalid position",
        "incomplete join", "incomplete close", "close with an invalid code", "close with a long reason", "unknown kind",
    ];

    public void Dispose()
    {
        _node.Dispose();
        Assert.Null(_backplane.Violation);
    }

    [Theory]
    [MemberData(nameof(InvalidRequests))]
    public async Task Request_WithInvalidContent_IsAnsweredWithProblem(string request)
    {
        await _node.Cluster!.InboxOpening;
        var ann = await Listener.ConnectAsync(_node);
        await SendAsync(Make(request, ann.Connection.Id));

        await Eventually.True(() => _backplane.MessagesOf(InboxOfOther).Length == 1);
        var answer = Assert.IsType<NodeAnswer>(NodeCodec.Decode(_backplane.MessagesOf(InboxOfOther)[0]));
        Assert.Equal((7, ann.Connection.Id, false, false), (answer.Id, answer.Target, answer.Succeeded, answer.IsUnreachable));
        Assert.NotEmpty(answer.Problem!);
        Assert.Equal(["/home"], ann.Connection.Groups);

        // The connection is open and still receives messages.
        await SendAsync(MessageTo(ann.Connection.Id, 5));
        _node.RunUntilIdle();
        ann.AssertGot(5);
    }

    /// <summary>An unreadable message may be for any connection of the node. So the node closes all its connections.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task MessageToConnection_Unreadable_ClosesAllConnections(bool isEmpty)
    {
        await _node.Cluster!.InboxOpening;
        var ann = await Listener.ConnectAsync(_node);
        var message = MessageTo(ann.Connection.Id, 5);
        await SendAsync(isEmpty ? default : message[..(ann.Connection.Id.Length + 20)]);
        await Eventually.True(() =>
        {
            _node.RunUntilIdle();
            return ann.Sink.Closed is not null;
        });
        ann.AssertLost();
    }

    [Fact]
    public async Task Answer_WithInvalidContent_FailsOnlyThatCall()
    {
        await _node.Cluster!.InboxOpening;
        var ann = await Listener.ConnectAsync(_node);
        _backplane.SetMember("\u0001connection:far", Other, default);
        var joining = _node.JoinAsync("far", "g", Token).AsTask();
        await Eventually.True(() => _backplane.MessagesOf(InboxOfOther).Length == 1);
        var request = Assert.IsType<JoinGroup>(NodeCodec.Decode(_backplane.MessagesOf(InboxOfOther)[0]));
        var answer = NodeCodec.Encode(new NodeAnswer(request.Id, Other, request.Target, true, null, null, null, false));
        await SendAsync(answer[..^1]);

        await Assert.ThrowsAsync<InvalidOperationException>(() => joining);
        _node.RunUntilIdle();
        ann.AssertGot();
    }

    static ReadOnlyMemory<byte> Make(string request, string target)
    {
        var join = new JoinGroup(7, Other, target, "g", default);
        var close = new CloseConnection(7, Other, target, WebSocketCloseStatus.NormalClosure, null);
        return request switch
        {
            "join without a group" => NodeCodec.Encode(join with { Group = null! }),
            "leave without a group" => NodeCodec.Encode(new LeaveGroup(7, Other, target, null!)),
            "state without a group" => NodeCodec.Encode(new SetGroupState(7, Other, target, null!, default)),
            "join with an internal group" => NodeCodec.Encode(join with { Group = InboxOfOther }),
            "join with an invalid position" => WithInvalidPosition(join),
            "incomplete join" => NodeCodec.Encode(join)[..^1],
            "incomplete close" => NodeCodec.Encode(close)[..^1],
            "close with an invalid code" => NodeCodec.Encode(close with { Status = (WebSocketCloseStatus)1006 }),
            "close with a long reason" => NodeCodec.Encode(close with { Reason = new string('x', 124) }),
            _ => WithKind(NodeCodec.Encode(join), 200),
        };
    }

    static ReadOnlyMemory<byte> WithInvalidPosition(JoinGroup join)
    {
        var position = new Position(1, 2);
        var bytes = NodeCodec.Encode(join with { Replay = Replay.After(position) }).ToArray();
        var text = System.Text.Encoding.UTF8.GetBytes(position.ToString());
        bytes[bytes.AsSpan().IndexOf(text)] = (byte)'x';
        return bytes;
    }

    /// <summary>Replaces the byte of the message kind, which follows the version.</summary>
    static ReadOnlyMemory<byte> WithKind(ReadOnlyMemory<byte> message, byte kind)
    {
        var bytes = message.ToArray();
        bytes[1] = kind;
        return bytes;
    }

    ReadOnlyMemory<byte> MessageTo(string connectionId, int number)
    {
        var message = new ClusterMessage(new(BitConverter.GetBytes(number), MessageType.Binary), [], _node.Time.GetUtcNow(), 0);
        return NodeCodec.Encode(new SendToConnection(Other, connectionId, message.Encode()));
    }

    async Task SendAsync(ReadOnlyMemory<byte> message) => await _backplane.PublishAsync(_backplane.Inbox, message, null, Token);
}
