using System.Diagnostics;
using System.Net.WebSockets;
using System.Threading.Tasks.Sources;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests the race between a pump that becomes idle and a thread that posts work. Each test repeats the race many times.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class WakeUpTests
{
    static readonly TimeSpan _patience = TimeSpan.FromSeconds(20);

    /// <summary>The time limit of a test. On a busy machine, a test ends at this limit with fewer rounds.</summary>
    static readonly TimeSpan _longest = TimeSpan.FromSeconds(5) * Effort.Factor;

    [Theory]
    [InlineData(1, 15_000)]
    [InlineData(2, 5_000)]
    public async Task Pump_PostWhileBecomingIdle_LosesNoWakeUp(int posters, int rounds)
    {
        rounds *= Effort.Factor;
        var started = Stopwatch.GetTimestamp();
        using var runner = new SpinningThread();
        var pump = new Pump(runner.Schedule);
        var threads = Enumerable.Range(0, posters).Select(seed => TestThread.Start(() =>
        {
            // At the first post, the pump is idle or becomes idle. The other posts arrive while the pump looks for more
            // work. No further post follows that could hide a lost wake-up.
            Mailbox[] mailboxes = [new(), new(), new()];
            var random = new Random(seed);
            for (var i = 1; i <= rounds && Stopwatch.GetElapsedTime(started) < _longest; i++)
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
    public async Task Pump_WriteCompletesOnOtherThread_SendsNextMessage()
    {
        var rounds = 5_000 * Effort.Factor;
        using var runner = new SpinningThread();
        using var ender = new SpinningThread();
        using var broadcast = new TestEngine();
        var pump = new Pump(runner.Schedule);
        var sink = new OtherThreadSink(ender);
        var connection = broadcast.Admit(new FakeRequest(), "/g", null, pump);
        connection.Writer.Open(sink);
        var busy = new Mailbox();
        var started = Stopwatch.GetTimestamp();
        await TestThread.Start(() =>
        {
            for (var i = 1; i <= rounds && Stopwatch.GetElapsedTime(started) < _longest; i++)
            {
                // The second message waits until the first write completes. Only this completion wakes the writer.
                connection.Send(Message.FromText("a"), null);
                pump.Post(busy);
                connection.Send(Message.FromText("b"), null);
                WaitFor(() => sink.Bytes, i * 6L);
            }
        });
    }

    [Fact]
    public async Task Writer_PublishWhileScanningManyGroups_DeliversInOrder()
    {
        const int GroupCount = 128;
        var rounds = 1_250 * Effort.Factor;
        using var runner = new SpinningThread();
        using var broadcast = new TestEngine();
        var ids = new List<byte>();
        var count = 0;
        var sink = new ManualSink(frames =>
        {
            FrameParser.Read(frames.Span, (_, payload) => ids.Add(payload[0]));
            Volatile.Write(ref count, ids.Count);
        });
        var connection = broadcast.Admit(new FakeRequest(), "/home", null, new Pump(runner.Schedule));
        var groups = broadcast.Groups;
        for (var i = 0; i < GroupCount; i++) Assert.True(connection.Join($"{i}").Joined);
        connection.Writer.Open(sink);
        var (one, other, last) = (groups.Find("0")!, groups.Find($"{GroupCount / 2}")!, groups.Find($"{GroupCount - 1}")!);
        Publish(other, 0);
        WaitFor(() => Volatile.Read(ref count), 1);
        var started = Stopwatch.GetTimestamp();
        var done = 0;
        await TestThread.Start(() =>
        {
            var random = new Random(1);
            for (; done < rounds && Stopwatch.GetElapsedTime(started) < _longest; done++)
            {
                // The writer now scans its groups. In either scan order, the writer must not find the second message
                // and miss the first one.
                Publish(other, 0);
                for (var delay = random.Next(1_000); delay > 0; delay--) Volatile.Read(ref count);
                Publish(done % 2 == 0 ? one : last, 1);
                Publish(done % 2 == 0 ? last : one, 2);
                WaitFor(() => Volatile.Read(ref count), 1 + ((done + 1) * 3));
            }
        });
        Assert.Equal(Enumerable.Range(0, done).SelectMany(_ => new byte[] { 0, 1, 2 }), ids.Skip(1));

        static void Publish(Group group, byte id) => group.Publish(new Message(new[] { id }, MessageType.Binary), null, 0);
    }

    [Fact]
    public async Task Pump_AnnounceWhileActivating_ActivatesEachAnnouncementOnce()
    {
        var rounds = 125_000 * Effort.Factor;
        var pump = new Pump(static _ => Assert.Fail("An announcement must not schedule the pump."));
        var started = Stopwatch.GetTimestamp();
        var running = 3;
        var publishers = Enumerable.Range(0, running).Select(_ => TestThread.Start(() =>
        {
            var (subscriber, cursors) = (new Announced(), new TrackedCursors());
            cursors.Add(new Cursor(TestLog.Create(new SequenceClock(), 1024), subscriber, set: null));
            try
            {
                for (var i = 1; i <= rounds && Stopwatch.GetElapsedTime(started) < _longest; i++)
                {
                    pump.Announce(cursors);
                    WaitFor(() => subscriber.Count, i);
                    Assert.Equal(i, subscriber.Count);
                }
            }
            finally
            {
                Interlocked.Decrement(ref running);
            }
        })).ToArray();
        var activating = TestThread.Start(() =>
        {
            while (Volatile.Read(ref running) > 0) pump.ActivateAnnounced();
        });
        await Task.WhenAll([.. publishers, activating]);
    }

    [Fact]
    public async Task Pump_OnThreadPool_LosesNoWakeUp()
    {
        var pump = new Pump(static work => ThreadPool.UnsafeQueueUserWorkItem(work, preferLocal: false));
        var threads = Enumerable.Range(0, 4).Select(_ => TestThread.Start(() =>
        {
            var mailboxes = new Mailbox[100];
            for (var i = 0; i < mailboxes.Length; i++) mailboxes[i] = new Mailbox();
            for (var i = 1; i <= 200 * Effort.Factor; i++)
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

    sealed class OtherThreadSink(SpinningThread ender) : Sink, IValueTaskSource, IThreadPoolWorkItem
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

    /// <summary>Counts the announcements of one log. The cursor of this subscriber never becomes active.</summary>
    sealed class Announced : ILogSubscriber
    {
        int _count;

        public int Count => Volatile.Read(ref _count);

        public string Id => "announced";

        public void OnNewMessages() { }

        public void OnAnnounced(Cursor cursor) => Volatile.Write(ref _count, _count + 1);

        public void OnPrivateLogRead(long readByte) { }
    }

    sealed class Mailbox : PumpItem
    {
        // Like the fields of a log, this field is not volatile. The memory fences of TryMarkPosted and ClearPosted must
        // make the value visible.
        int _value;
        int _seen;

        public int Seen => Volatile.Read(ref _seen);

        public void Put(int value) => _value = value;

        public override void Run()
        {
            ClearPosted();
            Volatile.Write(ref _seen, _value);
        }
    }

    /// <summary>A thread that starts a work item within nanoseconds. The thread pool is slower.</summary>
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
