
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
        await FlushAsync(10);
        var before = GC.GetTotalMemory(forceFullCollection: true);

        await FlushAsync(count);

        // The limit is half a buffer per writer. The pool keeps some buffers, but not one buffer for each writer.
        var limit = count * Math.Max(size, 64 * 1024L) / 2;
        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, limit);
        GC.KeepAlive(writers);

        async Task FlushAsync(int times)
        {
            var message = new byte[size];
            for (var i = 0; i < times; i++)
            {
                var writer = loopback.NewWriter();
                writers.Add(writer);
                var flush = writer.WriteAsync(message, token);
                await loopback.SkipAsync(size);
                Assert.False((await flush).IsCompleted);
            }
        }
    }
}
