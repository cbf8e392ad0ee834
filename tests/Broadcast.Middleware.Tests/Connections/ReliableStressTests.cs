using System.Net.WebSockets;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>
/// Stress tests on real threads. Clients disconnect repeatedly while other threads publish. At the end, the test checks
/// every message.
/// </summary>
[Collection(nameof(NotParallelCollection))]
public sealed class ReliableStressTests
{
    const int Publishers = 3;
    const int Clients = 6;
    static readonly string[] _names = ["/a", "/b"];

    [Fact]
    public async Task Reconnect_RepeatedWhileOtherThreadsPublish_DeliversEachMessageOnceInOrder()
    {
        var messages = 2_000 * Effort.Factor;
        using var broadcaster = new TestEngine(pumps: 0, maxBacklog: 1 << 29, configure: static options =>
            (options.MaxUnacknowledgedBytes, options.MaxUnacknowledgedMessages, options.MaxTotalUnacknowledgedBytes) = (1 << 29, 10_000_000, 1L << 40));
        var transports = 0;
        var seats = Enumerable.Range(0, Clients).Select(number =>
        {
            var client = new ReliableReceiver();
            var sink = new FragileSink(client, number);
            var connection = broadcaster.Connect(null, _names[number % 2], sink, protocol: ReliableReceiver.Protocol);
            return (Client: client, Connection: connection, Sink: sink, Number: number);
        }).ToArray();
        // The first client is a member of /a and /b. This client must receive a message to both groups only once.
        Assert.True(seats[0].Connection.Join("/b").Joined);
        var expected = new int[Clients];

        var publishing = Task.WhenAll(Enumerable.Range(1, Publishers).Select(publisher => TestThread.Start(() => Publish(publisher))));
        await Task.WhenAll(seats.Select(seat => Task.Run(() => ReconnectRepeatedlyAsync(seat.Client, seat.Connection, seat.Sink, seat.Number))))
            .WaitAsync(TimeSpan.FromSeconds(60) * Effort.Factor, TestContext.Current.CancellationToken);

        foreach (var (client, connection, _, number) in seats)
        {
            Assert.Null(client.Problem);
            Assert.Equal(expected[number], client.Got.Count);
            Assert.Equal(client.Got.Count, client.Got.Distinct().Count());
            Assert.Empty(client.WithoutId);
            // The messages of one publisher arrive in the order of publishing.
            foreach (var ofPublisher in client.Got.GroupBy(id => id / 1_000_000)) Assert.Equal(ofPublisher.Order(), ofPublisher);
            await broadcaster.DisconnectAsync(connection);
        }

        Assert.Equal(0, broadcaster.Groups.GetSettings("").Budget!.Used);
        Assert.True(transports > Clients, "Too few clients reconnected.");

        void Publish(int publisher)
        {
            var random = new Random(publisher);
            for (var i = 1; i <= messages; i++)
            {
                var which = random.Next(16);
                var at = random.Next(Clients);
                var message = ReliableReceiver.Numbered((publisher * 1_000_000) + i, random.Next(100));
                var (recipients, isFor) = which switch
                {
                    0 => (Recipients.Everyone, (Func<int, bool>)(_ => true)),
                    1 => (Recipients.Connection(seats[at].Connection.Id), number => number == at),
                    2 => (Recipients.Groups(_names), _ => true),
                    3 => (Recipients.Group(_names[0]).Except(seats[at].Connection.Id), number => number % 2 == 0 && number != at),
                    _ => (Recipients.Group(_names[which % 2]), number => number % 2 == which % 2 || number == 0),
                };
                broadcaster.Publish(message, recipients);
                for (var number = 0; number < Clients; number++)
                {
                    if (isFor(number)) Interlocked.Increment(ref expected[number]);
                }
            }
        }

        async Task ReconnectRepeatedlyAsync(ReliableReceiver client, Connection connection, FragileSink sink, int number)
        {
            var random = new Random(number);
            var session = connection.Session!;
            // A client without a token cannot reconnect. On a busy machine, the first token may arrive late.
            await Eventually.True(() => client.Token is not null);
            // Each client reconnects at least five times, even if the publishers finish early.
            for (var cuts = 0; cuts < 5 || !publishing.IsCompleted; cuts++)
            {
                for (var i = random.Next(20); i > 0; i--)
                {
                    Thread.SpinWait(random.Next(5_000));
                    if (random.Next(2) == 0) connection.Writer.OnAcknowledged(client.LastId);
                }

                // The server notices the disconnect after a random time.
                sink.Lose();
                Thread.SpinWait(random.Next(20_000));
                var token = client.Token!;
                var early = random.Next(2) == 0 ? session.ClaimAsync(token) : null;
                sink.Break();
                await connection.SuspendAsync();
                var wait = session.WaitAsync();
                Thread.SpinWait(random.Next(20_000));
                var newToken = await (early ?? session.ClaimAsync(token));
                Assert.True(newToken is not null, "The reconnect was refused.");
                sink = new FragileSink(client, random.Next());
                Assert.True(await connection.ReattachAsync(new FakeRequest(), sink, newToken), "The connection was not resumed.");
                Assert.True(await wait, "The connection was not handed over.");
                Interlocked.Increment(ref transports);
            }

            await publishing;
            await Eventually.True(() => client.Count >= expected[number], TimeSpan.FromSeconds(30));
        }
    }

    /// <summary>
    /// A sink whose writes sometimes complete on another thread. After <see cref="Lose"/>, frames do not arrive. After
    /// <see cref="Break"/>, writes fail.
    /// </summary>
    sealed class FragileSink(ReliableReceiver client, int seed) : Sink
    {
        readonly Lock _gate = new();
        readonly Random _random = new(seed);
        TaskCompletionSource? _write;
        bool _isLost;
        bool _isBroken;

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
        {
            lock (_gate)
            {
                if (_isBroken) throw new IOException("The transport is broken.");
                if (!_isLost) client.Receive(frames.Span);
                if (_random.Next(3) != 0) return default;
                var write = _write = new(TaskCreationOptions.RunContinuationsAsynchronously);
                if (!_isLost || _random.Next(2) == 0) ThreadPool.UnsafeQueueUserWorkItem(static write => write.TrySetResult(), write, preferLocal: false);
                return new(write.Task);
            }
        }

        public void Lose()
        {
            lock (_gate) _isLost = true;
        }

        public void Break()
        {
            lock (_gate)
            {
                _isBroken = true;
                _write?.TrySetException(new IOException("The transport is broken."));
            }
        }

        public override Task CloseAsync(WebSocketCloseStatus status, string? reason) => throw new InvalidOperationException("The test does not close this sink.");
    }
}
