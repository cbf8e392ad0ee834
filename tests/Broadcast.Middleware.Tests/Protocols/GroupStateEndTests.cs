using System.Runtime.CompilerServices;
using System.Text;
using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests how group state subscriptions continue and end. The tests drive the pumps of the connections.</summary>
public sealed class GroupStateEndTests
{
    static readonly JsonProtocol _protocol = new();

    [Fact]
    public async Task Presence_TenThousandSubscribersDisconnected_TracksNoGroup()
    {
        using var stage = new ManualBroadcast();
        var presence = stage.Broadcaster.Presence;
        for (var i = 0; i < 10_000; i++)
        {
            var connection = Connect(stage, "/ws");
            await SayAsync(stage, connection, """{"type":"setGroupState","group":"/ws","state":{"k":"v"}}""");
            await SayAsync(stage, connection, """{"type":"subscribeGroupState","group":"/ws"}""");
            Assert.True(Presences.Followed(presence) > 0);
            stage.Broadcaster.Remove(connection);
            // A removed connection can no longer subscribe.
            await SayAsync(stage, connection, """{"type":"subscribeGroupState","group":"/ws"}""");
            connection.GroupStates!.Subscribe("/ws");
        }

        Assert.Equal(0, Presences.Followed(presence));
        stage.RunUntilIdle();
    }

    [Fact]
    public void Subscribe_ConnectionRemoved_CreatesNoSubscription()
    {
        using var stage = new ManualBroadcast();
        var connection = Connect(stage, "/ws");
        var context = ContextOf(stage, connection);
        stage.Broadcaster.Remove(connection);
        Assert.Null(connection.OpenGroupStates(context));
        Assert.Null(connection.GroupStates);
        Assert.Equal(0, Presences.Followed(stage.Broadcaster.Presence));
    }

    [Fact]
    public async Task Group_LastStateRemoved_IsTrackedUntilLastUnsubscribe()
    {
        using var stage = new ManualBroadcast();
        var presence = stage.Broadcaster.Presence;
        var one = Connect(stage, "/ws");
        var two = Connect(stage, "/ws");
        await SayAsync(stage, two, """{"type":"subscribeGroupState","group":"/ws"}""");
        await SayAsync(stage, one, """{"type":"setGroupState","group":"/ws","state":{"k":"v"}}""");
        stage.Broadcaster.Remove(one);
        Assert.Equal(1, Presences.Followed(presence));
        await SayAsync(stage, two, """{"type":"unsubscribeGroupState","group":"/ws"}""");
        Assert.Equal(0, Presences.Followed(presence));
        stage.RunUntilIdle();
    }

    [Fact]
    public async Task Restart_PreviousSnapshotUnsent_SendsNewSnapshot()
    {
        using var stage = new ManualBroadcast();
        var connection = Connect(stage, "/ws");
        await SayAsync(stage, connection, """{"type":"subscribeGroupState","group":"/ws"}""");
        await Eventually.True(() => Sent(connection) == 1);

        // The pump does not run, so the first snapshot stays unsent.
        connection.GroupStates!.Restart();
        await Eventually.True(() => Sent(connection) == 2);
        connection.SetState("/ws", "{}"u8.ToArray());
        stage.RunUntilIdle();
        await Eventually.True(() =>
        {
            stage.RunUntilIdle();
            return Sent(connection) == 3;
        });
    }

    [Fact]
    public async Task Sender_PreviousMessageAlreadyTaken_SendsNextUpdate()
    {
        using var stage = new ManualBroadcast();
        var connection = new Connection(stage.Broadcaster, new Pump(static work => work.Execute()), new FakeRequest().Context, "/ws");
        Assert.True(stage.Broadcaster.Connections.TryAdd(connection));
        connection.Writer.Open(new ManualSink());
        Assert.True(Broadcaster.AttachAsync(connection).AsTask().IsCompletedSuccessfully);
        await SayAsync(stage, connection, """{"type":"subscribeGroupState","group":"/ws"}""");
        for (var i = 1; i <= 3; i++)
        {
            await Eventually.True(() => Sent(connection) == i);
            connection.SetState("/ws", "{}"u8.ToArray());
        }
    }

    static long Sent(Connection connection) => LaneOf(connection) is { } lane ? lane.NextOffset - 1 : 0;

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_lane")]
    static extern ref MessageLog? LaneOf(Connection connection);

    static Connection Connect(ManualBroadcast stage, string group) => stage.Connect(stage.Pumps[0], group, new ManualSink());

    static ProtocolContext ContextOf(ManualBroadcast stage, Connection connection) => new(stage.Broadcaster, connection, static _ => Task.CompletedTask);

    static Task SayAsync(ManualBroadcast stage, Connection connection, string message) =>
        _protocol.ReceiveAsync(ContextOf(stage, connection), new Message(Encoding.UTF8.GetBytes(message), MessageType.Text));
}
