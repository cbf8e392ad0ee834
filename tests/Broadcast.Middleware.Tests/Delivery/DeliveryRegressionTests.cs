using System.Net.WebSockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Regression tests. Each test reproduces one earlier bug of the delivery with few steps.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class DeliveryRegressionTests
{
    static readonly byte[] _payload = new byte[4];

    [Fact]
    public void Delivery_AfterJoin_KeepsOrderAcrossGroups()
    {
        using var broadcast = new TestEngine();
        var got = new List<int>();
        var connection = broadcast.Connect(broadcast.Pumps[0], "/a", new ManualSink(frames => FrameParser.Read(frames.Span, (_, payload) => got.Add(payload[0]))));
        broadcast.RunUntilIdle();
        Publish("/a", 1); // The publish notifies the pump, but the pump has not run yet.
        Assert.True(connection.Join("/b").Joined);
        Publish("/b", 2);
        Publish("/a", 3);
        broadcast.RunUntilIdle();
        Assert.Equal([1, 2, 3], got);

        void Publish(string group, byte id) => broadcast.Publish(new(new[] { id }, MessageType.Binary), Recipients.Group(group));
    }

    [Fact]
    public void Delivery_NewConnection_KeepsOrderOfMessagesToAllAndToHomeGroup()
    {
        using var broadcast = new TestEngine();
        var got = new List<int>();
        broadcast.Connect(broadcast.Pumps[0], "/a", new ManualSink(frames => FrameParser.Read(frames.Span, (_, payload) => got.Add(payload[0]))));
        broadcast.Publish(new(new byte[] { 1 }, MessageType.Binary), Recipients.Everyone);
        broadcast.Publish(new(new byte[] { 2 }, MessageType.Binary), Recipients.Group("/a"));
        broadcast.RunUntilIdle();
        Assert.Equal([1, 2], got);
    }

    [Fact]
    public void FirstDirectMessage_BetweenGroupMessages_ArrivesInOrder()
    {
        using var broadcast = new TestEngine();
        var got = new List<int>();
        var connection = broadcast.Connect(broadcast.Pumps[0], "/a", new ManualSink(frames => FrameParser.Read(frames.Span, (_, payload) => got.Add(payload[0]))));
        broadcast.RunUntilIdle();
        broadcast.Publish(new(new byte[] { 1 }, MessageType.Binary), Recipients.Group("/a"));
        broadcast.Publish(new(new byte[] { 2 }, MessageType.Binary), Recipients.Connection(connection.Id));
        broadcast.Publish(new(new byte[] { 3 }, MessageType.Binary), Recipients.Group("/a"));
        broadcast.RunUntilIdle();
        Assert.Equal([1, 2, 3], got);
    }

    [Fact]
    public async Task Close_OfNewConnection_DeliversEarlierMessages()
    {
        using var broadcast = new TestEngine();
        var sink = new ManualSink();
        var connection = broadcast.Connect(broadcast.Pumps[0], "/a", sink);
        broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/a"));
        await broadcast.CloseAsync(
            connection.Id, WebSocketCloseStatus.NormalClosure, null, TestContext.Current.CancellationToken);
        broadcast.RunUntilIdle();
        Assert.Equal((1, WebSocketCloseStatus.NormalClosure), (sink.Writes, sink.Closed));
    }

    [Fact]
    public async Task Leave_AfterRejoinInLastTurnOfPass_DoesNotThrow()
    {
        using var broadcast = new TestEngine();
        var token = TestContext.Current.CancellationToken;
        var sink = new ManualSink { Mode = WriteMode.Later };
        var connection = broadcast.Connect(broadcast.Pumps[0], "/home", sink);
        broadcast.RunUntilIdle();
        await broadcast.JoinAsync(connection.Id, "/g", token);
        broadcast.RunUntilIdle();
        var ends = false;
        broadcast.Connect(broadcast.Pumps[0], "/g", new ManualSink(_ =>
        {
            if (ends) sink.CompleteWrite();
        }));
        broadcast.RunUntilIdle();
        broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/g"));
        broadcast.RunUntilIdle();

        // The connection has a pending write, so its first cursor stays in the shard, before the cursor of the other
        // member. The second cursor of the connection comes last.
        await broadcast.LeaveAsync(connection.Id, "/g", token);
        await broadcast.JoinAsync(connection.Id, "/g", token);
        broadcast.RunUntilIdle();

        // In the next pass, the connection has two turns. The write of the connection is pending at the first turn and
        // completes before the second turn. In the second turn, the connection drops its first cursor.
        ends = true;
        broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/g"));
        broadcast.RunUntilIdle();
        sink.Mode = WriteMode.AtOnce;
        sink.CompleteWrite();
        broadcast.RunUntilIdle();
        await broadcast.LeaveAsync(connection.Id, "/g", token);
        broadcast.RunUntilIdle();
        Assert.Equal(2, sink.Writes);
    }

    [Fact]
    public async Task Leave_WithPendingWrite_IgnoresLaterMessagesOfTheGroup()
    {
        using var broadcast = new TestEngine(maxBacklog: 1_024);
        var leaver = new ManualSink { Mode = WriteMode.Later };
        var connection = broadcast.Connect(broadcast.Pumps[0], "/home", leaver);
        broadcast.Connect(broadcast.Pumps[0], "/g", new ManualSink());
        await broadcast.JoinAsync(connection.Id, "/g", TestContext.Current.CancellationToken);
        broadcast.RunUntilIdle();
        broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/g"));
        broadcast.RunUntilIdle();
        Assert.True(leaver.IsWriting); // This write contains all messages that the group has so far.
        await broadcast.LeaveAsync(connection.Id, "/g", TestContext.Current.CancellationToken);
        for (var i = 0; i < 10; i++)
        {
            broadcast.Publish(new(new byte[500], MessageType.Binary), Recipients.Group("/g"));
            broadcast.RunUntilIdle();
        }

        Assert.Null(connection.Writer.ClosingStatus);
    }

    [Fact]
    public async Task Close_ThenBacklogOverflow_IsNotReportedAsNormalClosure()
    {
        using var broadcast = new TestEngine(maxBacklog: 1_024);
        var sink = new ManualSink { Mode = WriteMode.Later };
        var connection = broadcast.Connect(broadcast.Pumps[0], "/g", sink);
        broadcast.RunUntilIdle();
        for (var i = 0; i < 2; i++)
        {
            broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/g"));
            broadcast.RunUntilIdle();
        }

        await broadcast.CloseAsync(connection.Id, WebSocketCloseStatus.NormalClosure, null, TestContext.Current.CancellationToken);
        for (var i = 0; i < 10; i++) broadcast.Publish(new(new byte[500], MessageType.Binary), Recipients.Group("/g"));
        broadcast.RunUntilIdle();
        sink.Mode = WriteMode.AtOnce;
        sink.CompleteWrite();
        broadcast.RunUntilIdle();

        // The connection lost the second message, which was published before the close. So the server must abort the
        // connection or close it with code 1013.
        Assert.True(sink.Writes >= 2 || sink.Closed != WebSocketCloseStatus.NormalClosure, "The close code is 1000, but the second message is missing.");
    }

    [Fact]
    public async Task CloseFrame_WithMessagesPublishedAfterClose_IsNotDelayed()
    {
        using var broadcast = new TestEngine();
        var sink = new ManualSink { Mode = WriteMode.Later };
        var connection = broadcast.Connect(broadcast.Pumps[0], "/g", sink);
        broadcast.RunUntilIdle();
        broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/g"));
        broadcast.RunUntilIdle();
        await broadcast.CloseAsync(connection.Id, WebSocketCloseStatus.NormalClosure, null, TestContext.Current.CancellationToken);
        for (var i = 0; i < 1_000 && sink.Closed is null; i++)
        {
            broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/g"));
            broadcast.RunUntilIdle();
            broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/g"));
            sink.CompleteWrite();
        }

        Assert.NotNull(sink.Closed);
    }

    [Fact]
    public void Pump_ConnectionWithConstantTraffic_DoesNotStarveOtherConnections()
    {
        using var broadcast = new TestEngine();
        var others = 0;
        var writesBeforeTheOther = 0;
        var fast = new ManualSink(_ =>
        {
            // Simulate publishers that publish constantly on other threads. Each write publishes one more message.
            if (others > 0 || writesBeforeTheOther++ > 10_000) return;
            broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/g"));
        });
        broadcast.Connect(broadcast.Pumps[0], "/g", fast);
        broadcast.Connect(broadcast.Pumps[0], "/other", new ManualSink(_ => others++));
        broadcast.RunUntilIdle();
        broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/g"));
        broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/other"));
        broadcast.RunUntilIdle();
        Assert.True(writesBeforeTheOther < 10_000, $"{writesBeforeTheOther} writes to the first connection came before the first write to the other connection.");
    }

    [Fact]
    public void JoinAndLeave_WhileWriteIsStalled_LeaksNoMemory()
    {
        using var broadcast = new TestEngine();
        var connection = Stalled(broadcast);
        var memberships = JoinAndLeave(broadcast, connection, 100);
        GC.Collect();
        Assert.InRange(memberships.Count(membership => membership.IsAlive), 0, 5);
        GC.KeepAlive(connection);
    }

    [Fact]
    public void SlowConsumerClose_WithUnreadMessages_ReleasesBlocksOfGroup()
    {
        using var broadcast = new TestEngine(maxBacklog: 200_000);
        var connection = Stalled(broadcast);
        var blocks = Flood(broadcast, connection);
        Assert.Equal(CloseStatus.TryAgainLater, connection.Writer.ClosingStatus);
        broadcast.RunUntilIdle();
        GC.Collect();

        // The pending write belongs to another group, so only the newest block of this group may be alive.
        Assert.InRange(blocks.Count(block => block.IsAlive), 0, 1);
        GC.KeepAlive(connection);
    }

    [Fact]
    public async Task Leave_DuringJoin_KeepsConnectionAndRegistryConsistent()
    {
        var registry = new InterleavingRegistry();
        using var broadcast = new TestEngine(registry: registry);
        var connection = broadcast.Connect(broadcast.Pumps[0], "/home", new ManualSink());
        // Another thread leaves the group between the two steps of the join. If a lock prevents this, the leave follows
        // directly after the join.
        var leaving = Task.CompletedTask;
        registry.AfterJoin = () =>
        {
            leaving = Task.Run(() => broadcast.LeaveAsync(connection.Id, "/g", TestContext.Current.CancellationToken).AsTask());
            leaving.Wait(100);
        };
        await broadcast.JoinAsync(connection.Id, "/g", TestContext.Current.CancellationToken);
        await leaving;
        Assert.Equal(connection.IsIn("/g") ? 1 : 0, registry.CountGroupMembers("/g"));
        if (connection.IsIn("/g")) Assert.True(await broadcast.LeaveAsync(connection.Id, "/g", TestContext.Current.CancellationToken));
    }

    static Connection Stalled(TestEngine broadcast)
    {
        var connection = broadcast.Connect(broadcast.Pumps[0], "/home", new ManualSink { Mode = WriteMode.Later });
        broadcast.RunUntilIdle();
        broadcast.Publish(new(_payload, MessageType.Binary), Recipients.Group("/home"));
        broadcast.RunUntilIdle();
        return connection;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static List<WeakReference> JoinAndLeave(TestEngine broadcast, Connection connection, int times)
    {
        var cursors = new List<WeakReference>();
        for (var i = 0; i < times; i++)
        {
            Assert.True(connection.Join("/x").Joined);
            cursors.Add(new(connection.JoinedGroups[^1].Cursor));
            broadcast.RunUntilIdle();
            Assert.True(connection.Leave("/x"));
            broadcast.RunUntilIdle();
        }

        return cursors;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static List<WeakReference> Flood(TestEngine broadcast, Connection connection)
    {
        var payloads = new List<WeakReference>();
        var watcher = new ManualSink(frames =>
        {
            MemoryMarshal.TryGetArray(frames, out var bytes);
            if (payloads.Count == 0 || payloads[^1].Target != bytes.Array) payloads.Add(new(bytes.Array));
        });
        broadcast.Connect(broadcast.Pumps[0], "/g", watcher);
        broadcast.RunUntilIdle();
        broadcast.Publish(new(new byte[100_000], MessageType.Binary), Recipients.Group("/g"));
        Assert.True(connection.Join("/g").Joined);
        broadcast.RunUntilIdle();
        for (var i = 0; i < 500; i++)
        {
            broadcast.Publish(new(new byte[1_000], MessageType.Binary), Recipients.Group("/g"));
            broadcast.RunUntilIdle();
        }

        return payloads;
    }

    sealed class InterleavingRegistry : IConnectionRegistry
    {
        readonly ConnectionRegistry _inner = new();

        public Action? AfterJoin { get; set; }

        public int Count => _inner.Count;
        public IEnumerable<IBroadcastConnection> Connections => _inner.Connections;
        public bool TryAdd(IBroadcastConnection connection) => _inner.TryAdd(connection);
        public bool Remove(IBroadcastConnection connection) => _inner.Remove(connection);

        public bool TryJoin(IBroadcastConnection connection, string group)
        {
            var joined = _inner.TryJoin(connection, group);
            AfterJoin?.Invoke();
            AfterJoin = null;
            return joined;
        }

        public bool Leave(IBroadcastConnection connection, string group) => _inner.Leave(connection, group);
        public IBroadcastConnection? Find(string connectionId) => _inner.Find(connectionId);
        public IEnumerable<IBroadcastConnection> GetUserConnections(string userId) => _inner.GetUserConnections(userId);
        public IEnumerable<IBroadcastConnection> GetGroupMembers(string group) => _inner.GetGroupMembers(group);
        public int CountGroupMembers(string group) => _inner.CountGroupMembers(group);
    }
}
