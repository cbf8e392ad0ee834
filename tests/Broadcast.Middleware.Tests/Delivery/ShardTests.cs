using CsCheck;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>
/// Tests large groups. The pump returns its thread several times during a pass over a large group. In between, the members can change.
/// </summary>
[Collection(nameof(NotParallelCollection))]
public sealed class ShardTests
{
    static readonly string[] _names = ["/a", "/b", "/c"];

    [Fact]
    public void GroupPass_WithChangingMembers_ReachesEveryMember() =>
        Gen.Select(Gen.Int[200, 900], Gen.Int[0, 1 << 30], Gen.Int[1, 40]).Sample(
            (members, seed, churn) =>
            {
                using var broadcast = new TestEngine();
                var random = new Random(seed);
                var peers = new List<Peer>();
                var isChurning = false;
                var refusals = 0;
                var published = 0;
                Exception? error = null;
                var groups = _names.ToDictionary(name => name, _ => new HashSet<Peer>());
                for (var i = 0; i < members; i++) Connect();
                broadcast.RunUntilIdle();
                isChurning = true;
                for (var i = 0; i < 6; i++)
                {
                    var name = _names[random.Next(_names.Length)];
                    Publish(name);
                    for (var turns = random.Next(60); turns > 0; turns--) broadcast.Pumps[0].RunTurn();
                }

                broadcast.RunUntilIdle();
                Assert.Null(error);
                Assert.Equal(0, refusals);
                foreach (var peer in peers)
                {
                    Assert.Null(peer.Sink.Violation);
                    if (!peer.Sink.HasFailed) Assert.Equal(peer.Expected, peer.Got);
                }

                void Publish(string name)
                {
                    published++;
                    foreach (var peer in groups[name]) peer.Expected++;
                    var result = broadcast.Publish(new(new byte[10], MessageType.Binary), Recipients.Group(name));
                    Assert.Equal(groups[name].Count, result.LocalRecipients);
                }

                Peer Connect()
                {
                    var peer = new Peer();
                    var home = _names[random.Next(_names.Length)];
                    peer.Sink = new ManualSink(frames =>
                    {
                        FrameParser.Read(frames.Span, (_, _) => peer.Got++);
                        if (!isChurning || random.Next(churn) != 0) return;
                        error ??= Record.Exception(Churn);
                    });
                    peer.Connection = broadcast.Connect(broadcast.Pumps[0], home, peer.Sink);
                    peers.Add(peer);
                    groups[home].Add(peer);
                    return peer;
                }

                // The pump calls this method in the middle of a member's turn.
                void Churn()
                {
                    var peer = peers[random.Next(peers.Count)];
                    var name = _names[random.Next(_names.Length)];
                    switch (random.Next(5))
                    {
                        case 0:
                            if (groups[name].Add(peer)) refusals += Now(broadcast.JoinAsync(peer.Connection.Id, name, default)) ? 0 : 1;
                            break;
                        case 1:
                            if (groups[name].Remove(peer)) refusals += Now(broadcast.LeaveAsync(peer.Connection.Id, name, default)) ? 0 : 1;
                            break;
                        case 2:
                            peer.Sink.Mode = WriteMode.Throws;
                            break;
                        case 3 when published < 30:
                            Publish(name);
                            break;
                        case 4 when peers.Count < 1_000:
                            Connect();
                            break;
                    }
                }
            },
            iter: 100 * Effort.Factor);

    [Fact]
    public void GroupPass_LargeGroup_ReturnsThreadAfterEach16Turns()
    {
        using var broadcast = new TestEngine();
        var (reached, otherReachedAfter) = (0, -1);
        var message = new Message(new byte[10], MessageType.Binary);
        for (var i = 0; i < 100; i++) broadcast.Connect(broadcast.Pumps[0], "/large", new ManualSink(_ => reached++));
        broadcast.Connect(broadcast.Pumps[0], "/small", new ManualSink(_ => otherReachedAfter = reached));
        broadcast.RunUntilIdle();

        broadcast.Publish(message, Recipients.Group("/large"));
        for (var run = 1; run <= 3; run++)
        {
            Assert.True(broadcast.Pumps[0].RunTurn());
            Assert.Equal(16 * run, reached);
        }

        broadcast.Publish(message, Recipients.Group("/small"));
        broadcast.RunUntilIdle();
        Assert.Equal(100, reached);
        Assert.InRange(otherReachedAfter, 48, 64);
    }

    static bool Now(ValueTask<bool> task) => task.IsCompletedSuccessfully && task.Result;

    sealed class Peer
    {
        public Connection Connection { get; set; } = null!;
        public ManualSink Sink { get; set; } = null!;
        public int Expected { get; set; }
        public int Got { get; set; }
    }
}
