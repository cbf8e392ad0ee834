using System.Runtime.CompilerServices;
using CsCheck;

namespace Broadcast.Middleware.Tests.Logs;

/// <summary>Property tests of a log and its cursors, without pumps.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class MessageLogPropertyTests
{
    const int LargestBlock = 64 * 1024;

    enum LogStep
    {
        Append,
        Read,
        ReadSome,
        Rest,
        Trim,
        Start,
        Leave,
    }

    [Fact]
    public void Cursor_RandomSteps_SeesEveryMessageOrReportsGap()
    {
        var steps = Gen.Frequency(
            (20, Gen.Const(LogStep.Append)), (6, Gen.Const(LogStep.Read)), (6, Gen.Const(LogStep.ReadSome)), (2, Gen.Const(LogStep.Rest)),
            (2, Gen.Const(LogStep.Trim)), (2, Gen.Const(LogStep.Start)), (1, Gen.Const(LogStep.Leave)));
        var sizes = Gen.Frequency((10, Gen.Int[0, 100]), (3, Gen.Int[100, 2_000]), (1, Gen.Int[60_000, 140_000]));
        var missed = 0;
        Gen.Select(Gen.Int[100, 300_000], Gen.Select(steps, Gen.Int[0, 7], sizes).Array[1, 300]).Sample(
            (capacity, program) =>
            {
                var clock = new SequenceClock();
                var log = TestLog.Create(clock, capacity);
                var readers = new List<Reader> { new(log) };
                var sizesByOffset = new List<int> { 0 };
                foreach (var (step, which, size) in program)
                {
                    var reader = readers[which % readers.Count];
                    switch (step)
                    {
                        case LogStep.Append:
                            // Simulate another log that uses the next sequence number.
                            if (which == 0) clock.Next();
                            lock (log.Gate) Assert.Equal(sizesByOffset.Count, log.Append(new(Payload.Make(sizesByOffset.Count, size), MessageType.Text), null));
                            sizesByOffset.Add(size);
                            break;
                        case LogStep.Read:
                            reader.Read(sizesByOffset, long.MaxValue, runs: int.MaxValue);
                            break;
                        case LogStep.ReadSome:
                            reader.Read(sizesByOffset, clock.Last - which, runs: 1 + (which % 3));
                            break;
                        case LogStep.Rest:
                            lock (log.Gate) log.TrimIdle();
                            break;
                        case LogStep.Trim when readers.Count == 1:
                            reader.Cursor.TrimPrivateLog();
                            break;
                        case LogStep.Start:
                            readers.Add(new Reader(log));
                            break;
                        case LogStep.Leave:
                            reader.Leave();
                            break;
                    }
                }

                foreach (var reader in readers)
                {
                    reader.Read(sizesByOffset, long.MaxValue, runs: int.MaxValue);
                    if (reader.Cursor.HasMissed) Interlocked.Increment(ref missed);
                    else Assert.Equal(reader.End, reader.Next);
                    var lacks = sizesByOffset.Skip((int)reader.Next).Sum(size => (long)Frame.Size(size) + Block.EntrySize);
                    if (reader.Cursor.HasMissed) Assert.True(lacks > capacity, $"The reader missed messages, although only {lacks} of {capacity} bytes were unread.");
                }
            },
            iter: 400 * Effort.Factor);
        Assert.True(missed > 0, "The random programs are too easy: no reader missed a message.");
    }

    [Fact]
    public void Cursor_WithExclusions_HidesExactlyTheExcludedMessages() =>
        Gen.Bool.Array[0, 200].Select(Gen.Int[1, 20].Array[1, 50]).Sample(
            (excluded, chunks) =>
            {
                var reader = new IdleSubscriber();
                var self = new EntryMetadata(new ExcludedConnections(reader.Id));
                var other = new EntryMetadata(new ExcludedConnections("somebody else", "and another"));
                var clock = new SequenceClock();
                var log = TestLog.Create(clock, 1 << 20);
                Cursor cursor;
                lock (log.Gate) cursor = new Cursor(log, reader, null);
                var got = new List<int>();
                for (var i = 0; i < excluded.Length; i++)
                {
                    var metadata = excluded[i] ? self : i % 3 == 0 ? other : null;
                    log.Append(new(new[] { (byte)i }, MessageType.Text), metadata);
                    if (i % chunks[i % chunks.Length] == 0) ReadAll();
                }

                ReadAll();
                Assert.Equal(Enumerable.Range(0, excluded.Length).Where(i => !excluded[i]), got);

                void ReadAll()
                {
                    while (cursor.TryPeek(out _))
                    {
                        var run = cursor.Read(clock.Last);
                        while (!run.IsEmpty) got.Add(Frame.Next(ref run, out _).Span[0]);
                    }
                }
            },
            iter: 500 * Effort.Factor);

    [Fact]
    public void Log_ReadersHaveReadAllMessages_KeepsNoOldBlock() =>
        Gen.Select(Gen.Int[1_000, 1 << 20], Gen.Int[0, 3_000].Array[100, 400]).Sample(
            (capacity, sizes) =>
            {
                var log = TestLog.Create(new SequenceClock(), capacity);
                var readers = Enumerable.Range(0, 3).Select(_ => new Reader(log)).ToArray();
                var blocks = AppendAll(log, sizes, readers);
                Assert.True(blocks.Count > 1);
                GC.Collect();
                Assert.Single(blocks, block => block.IsAlive);
                lock (log.Gate)
                {
                    log.TrimIdle();
                    log.TrimIdle();
                }

                foreach (var reader in readers) reader.Cursor.TryPeek(out _);
                GC.Collect();
                Assert.DoesNotContain(blocks, block => block.IsAlive);
                GC.KeepAlive(log);
                GC.KeepAlive(readers);
            },
            iter: 20 * Effort.Factor,
            threads: 1);

    [Fact]
    public void Log_WithStalledReaders_HoldsAtMostCapacityPlusOneBlockPerReader() =>
        Gen.Select(Gen.Int[10_000, 400_000], Gen.Int[0, 3_000].Array[600, 800], Gen.Int[0, 4], Gen.Bool).Sample(
            (capacity, sizes, stalled, skips) =>
            {
                var whenSlow = skips ? SlowConsumer.SkipToLatest : SlowConsumer.Disconnect;
                var log = TestLog.Create(new SequenceClock(), capacity, whenSlow);
                var readers = new List<Reader>();
                var blocks = new List<WeakReference>();
                for (var i = 0; i <= stalled; i++)
                {
                    readers.Add(new Reader(log));
                    blocks.AddRange(AppendAll(log, sizes, []));
                }

                GC.Collect();
                var held = blocks.Select(block => block.Target).OfType<Block>().Distinct().Sum(block => (long)block.Length);
                Assert.InRange(held, 0, capacity + (LargestBlock * (readers.Count + 1)));
                GC.KeepAlive(log);
                GC.KeepAlive(readers);
            },
            iter: 20 * Effort.Factor,
            threads: 1);

    [Fact]
    public async Task Reader_ConcurrentWithWriter_SeesNoGapAndNoPartialMessage()
    {
        const int Messages = 500_000;
        var count = Messages * Effort.Factor;
        var clock = new SequenceClock();
        var log = TestLog.Create(clock, int.MaxValue);
        var readers = Enumerable.Range(0, 2).Select(_ => new Cursor(log, null!, null)).ToArray();
        var reading = readers.Select((cursor, index) => Task.Run(() =>
        {
            var next = 0;
            while (next < count)
            {
                if (!cursor.TryPeek(out var sequence))
                {
                    Assert.False(cursor.HasMissed);
                    Thread.Yield();
                    continue;
                }

                Assert.Equal(next + 1, sequence);
                var run = cursor.Read(index == 0 ? long.MaxValue : clock.Last);
                while (!run.IsEmpty)
                {
                    Assert.True(Payload.Is(Frame.Next(ref run, out _).Span, next, 4 + (next % 23)), $"Message {next}");
                    next++;
                }
            }
        })).ToArray();
        for (var i = 0; i < count; i++)
        {
            var payload = Payload.Make(i, 4 + (i % 23));
            lock (log.Gate) log.Append(new(payload, MessageType.Binary), null);
        }

        await Task.WhenAll(reading).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task Reader_AtEndOfBlock_SeesLastMessageBeforeNextBlock()
    {
        var count = 100_000 * Effort.Factor;
        var log = TestLog.Create(new SequenceClock(), int.MaxValue);
        var cursor = new Cursor(log, null!, null);
        var reading = TestThread.Start(() =>
        {
            for (var next = 0; next < count;)
            {
                if (!cursor.TryPeek(out var sequence)) continue;
                Assert.Equal(next + 1, sequence);
                for (var run = cursor.Read(long.MaxValue); !run.IsEmpty; next++) Frame.Next(ref run, out _);
            }
        });
        for (var i = 0; i < count && !reading.IsCompleted; i++)
        {
            lock (log.Gate)
            {
                log.Append(new(default, MessageType.Binary), null);
                // Two consecutive calls of TrimIdle end the block.
                log.TrimIdle();
                log.TrimIdle();
            }
        }

        await reading.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task Reader_AfterLeave_TakesNoLaterMessages()
    {
        var count = 15_000 * Effort.Factor;
        var log = TestLog.Create(new SequenceClock(), 1 << 20);
        var current = default(Reader);
        var ends = false;
        var reading = TestThread.Start(() =>
        {
            for (var last = default(Reader); !Volatile.Read(ref ends);)
            {
                var reader = Volatile.Read(ref current);
                if (reader is null || reader == last) continue;
                while (!reader.Cursor.HasLeft)
                {
                    if (!reader.Cursor.TryPeek(out _)) continue;
                    for (var run = reader.Cursor.Read(long.MaxValue); !run.IsEmpty; reader.Next++) Frame.Next(ref run, out _);
                }

                Assert.Equal(reader.End, reader.Next);
                last = reader;
                Volatile.Write(ref current, null);
            }
        });
        var random = new Random(1);
        for (var i = 0; i < count && !reading.IsCompleted; i++)
        {
            var reader = new Reader(log);
            Volatile.Write(ref current, reader);
            Thread.SpinWait(random.Next(20));
            for (var before = random.Next(3); before >= 0; before--) Append();
            reader.Leave();
            Append();
            while (Volatile.Read(ref current) is not null && !reading.IsCompleted) Thread.SpinWait(5);
        }

        Volatile.Write(ref ends, true);
        await reading.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);

        void Append()
        {
            lock (log.Gate) log.Append(new(default, MessageType.Binary), null);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static List<WeakReference> AppendAll(MessageLog log, int[] sizes, Reader[] readers)
    {
        var blocks = new List<WeakReference>();
        foreach (var size in sizes)
        {
            lock (log.Gate)
            {
                log.Append(new(new byte[size], MessageType.Text), null);
                if (blocks.Count == 0 || blocks[^1].Target != log.End.Block) blocks.Add(new WeakReference(log.End.Block));
            }

            foreach (var reader in readers)
            {
                while (reader.Cursor.TryPeek(out _)) reader.Cursor.Read(long.MaxValue);
            }
        }

        return blocks;
    }

    sealed class Reader
    {
        readonly MessageLog _log;
        long? _leftAt;

        public Reader(MessageLog log)
        {
            _log = log;
            lock (log.Gate)
            {
                Cursor = new Cursor(log, null!, null);
                Next = log.NextOffset;
            }
        }

        public Cursor Cursor { get; }

        public long Next { get; set; }

        public long End => _leftAt ?? _log.NextOffset;

        public void Leave()
        {
            if (_leftAt is not null) return;
            lock (_log.Gate)
            {
                _leftAt = _log.NextOffset;
                Cursor.LeaveLocked();
            }
        }

        public void Read(List<int> sizes, long lastSequence, int runs)
        {
            while (runs-- > 0 && Cursor.TryPeek(out var sequence))
            {
                if (sequence > lastSequence) return;
                var run = Cursor.Read(lastSequence);
                Assert.False(run.IsEmpty);
                while (!run.IsEmpty)
                {
                    Assert.True(Next < End, "The reader received a message after the leave.");
                    var payload = Frame.Next(ref run, out _);
                    Assert.True(Payload.Is(payload.Span, (int)Next, sizes[(int)Next]), $"Expected message {Next}.");
                    Next++;
                }
            }
        }
    }
}
