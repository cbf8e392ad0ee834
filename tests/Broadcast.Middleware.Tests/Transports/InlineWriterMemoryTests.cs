using System.Diagnostics.Tracing;

namespace Broadcast.Middleware.Tests.Transports;

/// <summary>Tests the memory of inline writers. No other test runs in parallel, because all tests share the heap.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class InlineWriterMemoryTests
{
    [Fact]
    public void Flush_CompletingSynchronously_AllocatesNothing()
    {
        using var loopback = LoopbackConnection.Open(64 * 1024);
        var received = new byte[500];
        Flush(1_000);
        var before = GC.GetAllocatedBytesForCurrentThread();

        Flush(10_000);

        // A flush allocates nothing, but the runtime may recompile methods during the test. So the test allows a small number of bytes.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 10_000);

        void Flush(int count)
        {
            for (var i = 0; i < count; i++)
            {
                loopback.Write(received.Length);
                var flush = loopback.Writer.FlushAsync(CancellationToken.None);
                if (!flush.IsCompletedSuccessfully) Assert.Fail("The flush waits.");
                flush.GetAwaiter().GetResult();
                loopback.Read(received);
            }
        }
    }

    [Theory]
    [InlineData(500, 300)]
    [InlineData(LoopbackConnection.TooMuch, 120)]
    public async Task InlineWriter_AllBytesSent_HoldsNoBuffer(int size, int count)
    {
        var token = TestContext.Current.CancellationToken;
        using var loopback = LoopbackConnection.Open();
        var writers = new List<InlineWriter>();
        using var buffers = new RentedBuffers(Math.Max(size, 64 * 1024));

        for (var i = 0; i < count; i++)
        {
            var writer = loopback.NewWriter();
            writers.Add(writer);
            writer.GetMemory(size).Span[..size].Clear();
            writer.Advance(size);
            var flush = writer.FlushAsync(token);
            await loopback.SkipAsync(size);
            Assert.False((await flush).IsCompleted);
        }

        Assert.InRange(buffers.Rents, count, int.MaxValue);
        // The end of a flush may return its buffer a moment after the flush completes.
        await Eventually.True(() => buffers.Returns == buffers.Rents);
        GC.KeepAlive(writers);
    }

    /// <summary>Counts the buffers of the shared array pool that have at least a minimum length.</summary>
    /// <remarks>
    /// The size of the heap would not show whether a writer holds a buffer. The pool keeps a returned buffer for each thread and for each
    /// processor.
    /// </remarks>
    sealed class RentedBuffers(int minLength) : EventListener
    {
        const int BufferRented = 1, BufferReturned = 3;

        int _rents;
        int _returns;

        public int Rents => Volatile.Read(ref _rents);

        public int Returns => Volatile.Read(ref _returns);

        protected override void OnEventSourceCreated(EventSource source)
        {
            if (source.Name == "System.Buffers.ArrayPoolEventSource") EnableEvents(source, EventLevel.Verbose);
        }

        protected override void OnEventWritten(EventWrittenEventArgs data)
        {
            // The second value of both events is the length of the buffer.
            if (data.EventId is not (BufferRented or BufferReturned) || (int)data.Payload![1]! < minLength) return;
            if (data.EventId == BufferRented) Interlocked.Increment(ref _rents);
            else Interlocked.Increment(ref _returns);
        }
    }
}
