using System.Net.WebSockets;
using System.Threading.Tasks.Sources;

namespace Broadcast.Middleware.Tests.Properties;

/// <summary>The moment at which a pump goes idle and somebody posts, hundreds of thousands of times, or millions with more effort.</summary>
[Collection(PropertiesCollection.Name)]
public sealed class WakeUpTests
{
    static readonly TimeSpan _patience = TimeSpan.FromSeconds(20);

    [Theory]
    [InlineData(1, 150_000)]
    [InlineData(2, 50_000)]
    public async Task No_wake_up_is_lost_between_idle_and_posted(int posters, int rounds)
    {
        rounds *= Effort.Factor;
        using var runner = new SpinningThread();
        var pump = new Pump(runner.Schedule);
        var threads = Enumerable.Range(0, posters).Select(seed => Crowd.Start(() =>
        {
            // The first finds the pump idle, or on its way there; the others come while it looks for more. Then nobody
            // posts who could make good for a signal that was lost.
            Mailbox[] mailboxes = [new(), new(), new()];
            var random = new Random(seed);
            for (var i = 1; i <= rounds; i++)
            {
                foreach (var mailbox in mailboxes)
                {
                    mailbox.Put(i);
                    pump.Post(mailbox);
                    for (var delay = random.Next(60); delay > 0; delay--) Volatile.Read(ref i);
                }

                foreach (var mailbox in mailboxes) WaitFor(mailbox, i);
            }
        }));
        await Task.WhenAll(threads);
    }

    [Fact]
    public async Task The_end_of_a_write_on_another_thread_is_never_overlooked()
    {
        var rounds = 50_000 * Effort.Factor;
        using var runner = new SpinningThread();
        using var ender = new SpinningThread();
        using var stage = new Stage();
        var pump = new Pump(runner.Schedule);
        var sink = new EndedElsewhere(ender);
        var connection = new Connection(stage.Broadcaster, pump, new FakeRequest().Context, "/g");
        connection.Writer.Open(sink);
        var busy = new Mailbox();
        await Crowd.Start(() =>
        {
            for (var i = 1; i <= rounds; i++)
            {
                // The second waits for the end of the first one's write, and nothing else will wake the writer.
                connection.Send(Message.FromText("a"), null);
                pump.Post(busy);
                connection.Send(Message.FromText("b"), null);
                WaitFor(() => sink.Bytes, i * 6L);
            }
        });
    }

    [Fact]
    public async Task What_is_published_while_the_writer_looks_through_many_groups_arrives_in_order()
    {
        const int GroupCount = 128;
        var rounds = 10_000 * Effort.Factor;
        using var runner = new SpinningThread();
        using var stage = new Stage();
        var ids = new List<byte>();
        var count = 0;
        var sink = new HandSink(frames =>
        {
            Wire.Read(frames.Span, (_, payload) => ids.Add(payload[0]));
            Volatile.Write(ref count, ids.Count);
        });
        var connection = new Connection(stage.Broadcaster, new Pump(runner.Schedule), new FakeRequest().Context, "/home");
        var groups = stage.Broadcaster.Groups;
        Assert.True(stage.Broadcaster.Connections.TryAdd(connection));
        for (var i = 0; i < GroupCount; i++) Assert.True(connection.Join($"{i}").Joined);
        connection.Writer.Open(sink);
        var (one, other, last) = (groups.Find("0")!, groups.Find($"{GroupCount / 2}")!, groups.Find($"{GroupCount - 1}")!);
        Publish(other, 0);
        WaitFor(() => Volatile.Read(ref count), 1);
        await Crowd.Start(() =>
        {
            var random = new Random(1);
            for (var i = 0; i < rounds; i++)
            {
                // Now it looks; and whichever end it began at, it must not see the second message and overlook the first.
                Publish(other, 0);
                for (var delay = random.Next(1_000); delay > 0; delay--) Volatile.Read(ref count);
                Publish(i % 2 == 0 ? one : last, 1);
                Publish(i % 2 == 0 ? last : one, 2);
                WaitFor(() => Volatile.Read(ref count), 1 + ((i + 1) * 3));
            }
        });
        Assert.Equal(Enumerable.Range(0, rounds).SelectMany(_ => new byte[] { 0, 1, 2 }), ids.Skip(1));

        static void Publish(Group group, byte id) => group.Publish(new Message(new[] { id }, MessageType.Binary), null, 0);
    }

    [Fact]
    public async Task No_wake_up_is_lost_on_the_thread_pool()
    {
        var pump = new Pump(static work => ThreadPool.UnsafeQueueUserWorkItem(work, preferLocal: false));
        var threads = Enumerable.Range(0, 4).Select(_ => Crowd.Start(() =>
        {
            var mailboxes = new Mailbox[100];
            for (var i = 0; i < mailboxes.Length; i++) mailboxes[i] = new Mailbox();
            for (var i = 1; i <= 2_000 * Effort.Factor; i++)
            {
                foreach (var mailbox in mailboxes)
                {
                    mailbox.Put(i);
                    pump.Post(mailbox);
                }

                if (i % 10 != 0) continue;
                foreach (var mailbox in mailboxes) WaitFor(mailbox, i);
            }
        }));
        await Task.WhenAll(threads);
    }

    static void WaitFor(Mailbox mailbox, int value) => WaitFor(() => mailbox.Seen, value);

    static void WaitFor(Func<long> seen, long value)
    {
        var started = 0L;
        for (var spins = 1; seen() < value; spins++)
        {
            if (spins % 50 == 0) Thread.Yield();
            else Thread.SpinWait(10);
            if (spins % 1_000 != 0) continue;
            if (started == 0) started = TimeProvider.System.GetTimestamp();
            else if (TimeProvider.System.GetElapsedTime(started) > _patience) Assert.Fail($"A wake-up was lost: {seen()} of {value} was seen.");
        }
    }

    sealed class EndedElsewhere(SpinningThread ender) : Sink, IValueTaskSource, IThreadPoolWorkItem
    {
        ManualResetValueTaskSourceCore<bool> _write;
        long _bytes;

        public long Bytes => Volatile.Read(ref _bytes);

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
        {
            Volatile.Write(ref _bytes, _bytes + frames.Length);
            ender.Schedule(this);
            return new ValueTask(this, _write.Version);
        }

        public override Task CloseAsync(WebSocketCloseStatus status, string? reason) => Task.CompletedTask;

        void IThreadPoolWorkItem.Execute() => _write.SetResult(true);

        void IValueTaskSource.GetResult(short token)
        {
            _write.GetResult(token);
            _write.Reset();
        }

        ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _write.GetStatus(token);

        void IValueTaskSource.OnCompleted(
            Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
            _write.OnCompleted(continuation, state, token, flags);
    }

    sealed class Mailbox : PumpItem
    {
        // Plain, as is what a log's reader may rely on: the mark's fences have to make it visible.
        int _value;
        int _seen;

        public int Seen => Volatile.Read(ref _seen);

        public void Put(int value) => _value = value;

        public override void Run(Pump pump)
        {
            ClearPosted();
            Volatile.Write(ref _seen, _value);
        }
    }

    /// <summary>Begins a work item within nanoseconds, which the thread pool cannot.</summary>
    sealed class SpinningThread : IDisposable
    {
        readonly Thread _thread;
        IThreadPoolWorkItem? _work;
        volatile bool _ends;

        public SpinningThread()
        {
            _thread = new Thread(Run) { IsBackground = true };
            _thread.Start();
        }

        public void Schedule(IThreadPoolWorkItem work)
        {
            if (Interlocked.Exchange(ref _work, work) is not null) throw new InvalidOperationException("The pump was scheduled twice.");
        }

        public void Dispose()
        {
            _ends = true;
            _thread.Join();
        }

        void Run()
        {
            for (var spins = 0; !_ends; spins++)
            {
                if (Volatile.Read(ref _work) is not null && Interlocked.Exchange(ref _work, null) is { } work)
                {
                    work.Execute();
                    spins = 0;
                }
                else if (spins % 50 == 49)
                {
                    Thread.Yield();
                }
            }
        }
    }
}
