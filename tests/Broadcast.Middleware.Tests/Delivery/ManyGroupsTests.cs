using System.Runtime.CompilerServices;
using CsCheck;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests connections in many groups. The reader of such a connection looks only at groups with messages.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class ManyGroupsTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Reader_ManyGroups_ReadsOnlyGroupsWithMessages()
    {
        using var broadcast = new TestEngine();
        var received = new List<long>();
        var (connection, reader) = await ConnectAsync(broadcast, new ManualSink(frames => Read(frames, received)), groups: 100);
        broadcast.RunUntilIdle();
        Assert.Equal((101 + 1, 0), (reader.Cursors.Length, ActiveCountOf(reader)));

        Publish(broadcast, Recipients.Group("/g/7"), 1);
        Publish(broadcast, Recipients.Group("/g/8"), 2);
        connection.Writer.Post();
        broadcast.RunUntilIdle();

        Assert.Equal([1, 2], received);
        Assert.Equal(0, ActiveCountOf(reader));
        // A heartbeat gives each writer a turn. In this turn, the reader must not check every group.
        broadcast.Beat();
        broadcast.RunUntilIdle();
        Assert.Equal(0, ActiveCountOf(reader));
    }

    [Fact]
    public async Task Leave_GroupWithoutMessages_RemovesCursor()
    {
        using var broadcast = new TestEngine();
        var (connection, reader) = await ConnectAsync(broadcast, new ManualSink(), groups: 100);
        broadcast.RunUntilIdle();

        for (var i = 0; i < 50; i++) Assert.True(await broadcast.LeaveAsync(connection.Id, $"/g/{i}", Token));
        broadcast.RunUntilIdle();

        Assert.Equal((51 + 1, 0), (reader.Cursors.Length, ActiveCountOf(reader)));
        var disconnecting = broadcast.DisconnectAsync(connection);
        broadcast.RunUntilIdle();
        await disconnecting;
        Assert.Equal(0, broadcast.Groups.Count);
    }

    /// <summary>
    /// Compares the received messages of connections in few and in many groups with a model. The model is the order of
    /// the publish calls.
    /// </summary>
    [Fact]
    public void Messages_RandomSchedules_ArriveInPublishOrder() =>
        Gen.Select(Gen.Int[0, 13], Gen.Int[0, 29], Gen.Int[0, 3]).Array[1, 200].Sample(
            steps =>
            {
                using var broadcast = new TestEngine(pumps: 2, configure: static options => options.SendTimeout = Timeout.InfiniteTimeSpan);
                var peers = Enumerable.Range(0, 4).Select(i => Connect(broadcast, i, groups: i * 9)).ToArray();
                var last = 0;
                foreach (var (step, number, who) in steps)
                {
                    var (peer, group) = (peers[who], $"/g/{number}");
                    switch (step)
                    {
                        case <= 4:
                            PublishTo([group]);
                            break;
                        case 5:
                            string[] groups = [group, $"/g/{(number + 1) % 30}", $"/g/{(number + 7) % 30}"];
                            PublishTo(groups);
                            break;
                        case 6:
                            Publish(broadcast, Recipients.Everyone, ++last);
                            foreach (var each in peers) each.Expected.Add(last);
                            break;
                        case 7:
                            Publish(broadcast, Recipients.Connection(peer.Connection.Id), ++last);
                            peer.Expected.Add(last);
                            break;
                        case 8:
                            var joining = broadcast.JoinAsync(peer.Connection.Id, group, Token);
                            Assert.Equal(peer.Groups.Add(group), joining.IsCompletedSuccessfully && joining.Result);
                            break;
                        case 9:
                            var leaving = broadcast.LeaveAsync(peer.Connection.Id, group, Token);
                            Assert.Equal(peer.Groups.Remove(group), leaving.IsCompletedSuccessfully && leaving.Result);
                            break;
                        case 10:
                            peer.Sink.Mode = peer.Sink.Mode == WriteMode.AtOnce ? WriteMode.Later : WriteMode.AtOnce;
                            break;
                        case 11:
                            peer.Sink.CompleteWrite();
                            break;
                        case 12 when number < 3:
                            broadcast.Beat();
                            break;
                        default:
                            broadcast.Pumps[number % 2].RunTurn();
                            break;
                    }
                }

                broadcast.RunUntilWritten(() => peers.Select(static peer => peer.Sink));
                foreach (var peer in peers)
                {
                    Assert.Null(peer.Sink.Violation);
                    Assert.Equal(peer.Expected, peer.Received);
                }

                void PublishTo(string[] groups)
                {
                    Publish(broadcast, groups.Length == 1 ? Recipients.Group(groups[0]) : Recipients.Groups(groups), ++last);
                    foreach (var peer in peers.Where(peer => peer.Groups.Overlaps(groups))) peer.Expected.Add(last);
                }
            },
            iter: 400 * Effort.Factor);

    static Peer Connect(TestEngine broadcast, int number, int groups)
    {
        var received = new List<long>();
        var sink = new ManualSink(frames => Read(frames, received));
        var connecting = ConnectAsync(broadcast, sink, groups, broadcast.Pumps[number % 2]);
        Assert.True(connecting.IsCompletedSuccessfully);
        return new(connecting.Result.Connection, sink, received, [.. Enumerable.Range(0, groups).Select(static i => $"/g/{i}")], []);
    }

    static async Task<(Connection Connection, LogReader Reader)> ConnectAsync(
        TestEngine broadcast, ManualSink sink, int groups, ManualPump? pump = null)
    {
        var connection = broadcast.Connect(pump ?? broadcast.Pumps[0], "/home", sink);
        for (var i = 0; i < groups; i++) Assert.True(await broadcast.JoinAsync(connection.Id, $"/g/{i}", Token));
        return (connection, ReaderOf(connection.Writer));
    }

    static void Publish(TestEngine broadcast, Recipients recipients, long id) =>
        broadcast.Publish(new(BitConverter.GetBytes(id), MessageType.Binary), recipients);

    static void Read(ReadOnlyMemory<byte> frames, List<long> received) =>
        Assert.Null(FrameParser.Read(frames.Span, (_, payload) => received.Add(BitConverter.ToInt64(payload))));

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_reader")]
    static extern ref LogReader ReaderOf(ConnectionWriter writer);

    /// <summary>The number of cursors that the reader checks.</summary>
    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_activeCount")]
    static extern ref int ActiveCountOf(LogReader reader);

    sealed record Peer(Connection Connection, ManualSink Sink, List<long> Received, HashSet<string> Groups, List<long> Expected);
}
