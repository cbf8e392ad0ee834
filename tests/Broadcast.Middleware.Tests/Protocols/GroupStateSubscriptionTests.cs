using System.Runtime.CompilerServices;
using System.Text;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests how group state subscriptions continue and end. The tests run the pumps manually.</summary>
public sealed class GroupStateSubscriptionTests
{
    static readonly JsonProtocol _protocol = new();

    [Fact]
    public async Task Presence_TenThousandSubscribersDisconnected_TracksNoGroup()
    {
        using var stage = new TestEngine();
        var presence = stage.Presence;
        for (var i = 0; i < 10_000; i++)
        {
            var connection = Connect(stage, "/ws");
            await SendTextAsync(stage, connection, """{"type":"setGroupState","group":"/ws","state":{"k":"v"}}""");
            await SendTextAsync(stage, connection, """{"type":"subscribeGroupState","group":"/ws"}""");
            Assert.True(Presences.Followed(presence) > 0);
            stage.Remove(connection);
            // A removed connection can no longer subscribe.
            await SendTextAsync(stage, connection, """{"type":"subscribeGroupState","group":"/ws"}""");
            StatesOf(stage.ContextOf(connection))!.Subscribe("/ws");
        }

        Assert.Equal(0, Presences.Followed(presence));
        stage.RunUntilIdle();
    }

    [Fact]
    public void Subscribe_ConnectionRemoved_CreatesNoSubscription()
    {
        using var stage = new TestEngine();
        var connection = Connect(stage, "/ws");
        var context = ContextOf(stage, connection);
        stage.Remove(connection);
        context.SubscribeToStates("/ws");
        Assert.Null(StatesOf(context));
        Assert.Equal(0, Presences.Followed(stage.Presence));
    }

    [Fact]
    public async Task Group_LastStateRemoved_IsTrackedUntilLastUnsubscribe()
    {
        using var stage = new TestEngine();
        var presence = stage.Presence;
        var one = Connect(stage, "/ws");
        var two = Connect(stage, "/ws");
        await SendTextAsync(stage, two, """{"type":"subscribeGroupState","group":"/ws"}""");
        await SendTextAsync(stage, one, """{"type":"setGroupState","group":"/ws","state":{"k":"v"}}""");
        stage.Remove(one);
        Assert.Equal(1, Presences.Followed(presence));
        await SendTextAsync(stage, two, """{"type":"unsubscribeGroupState","group":"/ws"}""");
        Assert.Equal(0, Presences.Followed(presence));
        stage.RunUntilIdle();
    }

    [Fact]
    public async Task SenderRestart_PreviousSnapshotUnsent_SendsNewSnapshot()
    {
        using var stage = new TestEngine();
        var connection = Connect(stage, "/ws");
        await SendTextAsync(stage, connection, """{"type":"subscribeGroupState","group":"/ws"}""");
        await Eventually.True(() => Sent(connection) == 1);

        // The pump does not run, so the first snapshot stays unsent.
        StatesOf(stage.ContextOf(connection))!.Restart();
        await Eventually.True(() => Sent(connection) == 2);
        stage.SetState(connection, "/ws", "{}"u8.ToArray());
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
        using var stage = new TestEngine();
        var connection = stage.Admit(new FakeRequest(), "/ws", null, new Pump(static work => work.Execute()));
        connection.Writer.Open(new ManualSink());
        Assert.True(stage.AttachAsync(connection).AsTask().IsCompletedSuccessfully);
        await SendTextAsync(stage, connection, """{"type":"subscribeGroupState","group":"/ws"}""");
        for (var i = 1; i <= 3; i++)
        {
            await Eventually.True(() => Sent(connection) == i);
            stage.SetState(connection, "/ws", "{}"u8.ToArray());
        }
    }

    static long Sent(Connection connection) => PrivateLogOf(connection) is { } log ? LogOf(log).NextOffset - 1 : 0;

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_privateLog")]
    static extern ref PrivateLog? PrivateLogOf(Connection connection);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "<log>P")]
    static extern ref MessageLog LogOf(PrivateLog log);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_states")]
    static extern ref FeedSender? StatesOf(ProtocolContext context);

    static Connection Connect(TestEngine stage, string group) => stage.Connect(stage.Pumps[0], group, new ManualSink());

    static ProtocolContext ContextOf(TestEngine stage, Connection connection) => stage.ContextOf(connection);

    static Task SendTextAsync(TestEngine stage, Connection connection, string message) =>
        _protocol.ReceiveAsync(ContextOf(stage, connection), new Message(Encoding.UTF8.GetBytes(message), MessageType.Text));
}
