namespace Broadcast.Middleware.Tests.Properties;

/// <summary>The moment at which a pump goes idle and somebody posts, millions of times.</summary>
[Collection(PropertiesCollection.Name)]
public sealed class WakeUpTests
{
    static readonly TimeSpan _patience = TimeSpan.FromSeconds(20);

    [Theory]
    [InlineData(1, 3_000_000)]
    [InlineData(2, 1_000_000)]
    public async Task No_wake_up_is_lost_between_idle_and_posted(int posters, int posts)
    {
        posts *= Effort.Factor;
        using var runner = new SpinningThread();
        var pump = new Pump(runner.Schedule);
        var threads = Enumerable.Range(0, posters).Select(seed => Crowd.Start(() =>
        {
            var mailbox = new Mailbox();
            var random = new Random(seed);
            for (var i = 1; i <= posts; i++)
            {
                mailbox.Put(i);
                pump.Post(mailbox);
                // Now and then the next one comes while the pump still runs, or is about to go idle.
                if (random.Next(8) == 0) Thread.SpinWait(random.Next(20));
                else WaitFor(mailbox, i);
            }

            WaitFor(mailbox, posts);
        }));
        await Task.WhenAll(threads);
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

    static void WaitFor(Mailbox mailbox, int value)
    {
        if (mailbox.Seen >= value) return;
        var started = TimeProvider.System.GetTimestamp();
        var spin = default(SpinWait);
        while (mailbox.Seen < value)
        {
            // The first rounds do not yield: the point is to be fast enough to meet the pump on its way to being idle.
            if (spin.Count < 10) Thread.SpinWait(20);
            spin.SpinOnce(sleep1Threshold: -1);
            if (spin.Count % 256 == 0 && TimeProvider.System.GetElapsedTime(started) > _patience)
                Assert.Fail($"A wake-up was lost: {mailbox.Seen} of {value} was seen.");
        }
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
            var spin = default(SpinWait);
            while (!_ends)
            {
                if (Volatile.Read(ref _work) is not null && Interlocked.Exchange(ref _work, null) is { } work)
                {
                    work.Execute();
                    spin.Reset();
                }
                else if (spin.Count < 100)
                {
                    spin.SpinOnce(sleep1Threshold: -1);
                }
                else
                {
                    Thread.Yield();
                }
            }
        }
    }
}
