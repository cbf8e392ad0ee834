using System.IO.Pipelines;
using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Transports;

/// <summary>Tests how much memory an inline writer allocates and keeps.</summary>
public sealed class InlineWriterMemoryTests
{
    [Fact]
    public void Flush_CompletingSynchronously_AllocatesNothing()
    {
        using var loopback = LoopbackConnection.Open(64 * 1024);
        var received = new byte[500];
        Flush(1_000);

        // A flush allocates nothing. But the runtime may recompile methods, and the shared array pool may free the buffer of the writer.
        // So the test allows a small number of bytes, and repeats the measurement.
        Assert.InRange(Enumerable.Range(0, 5).Min(_ => Measure(10_000)), 0, 10_000);

        long Measure(int count)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            Flush(count);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        void Flush(int count)
        {
            for (var i = 0; i < count; i++)
            {
                loopback.Write(received.Length);
                var flush = loopback.Writer.FlushAsync(CancellationToken.None);
                if (!flush.IsCompletedSuccessfully) Assert.Fail("The flush has not completed synchronously.");
                flush.GetAwaiter().GetResult();
                loopback.Read(received);
            }
        }
    }

    [Theory]
    [InlineData(500)]
    [InlineData(LoopbackConnection.TooMuch)]
    public async Task InlineWriter_AllBytesSent_HoldsNoBuffer(int size)
    {
        var token = TestContext.Current.CancellationToken;
        using var loopback = LoopbackConnection.Open();
        var writer = loopback.NewWriter();
        for (var i = 0; i < 10; i++)
        {
            writer.GetMemory(size).Span[..size].Clear();
            writer.Advance(size);
            Assert.NotNull(BufferOf(writer));
            await SendAsync(writer.FlushAsync(token));
            await SendAsync(writer.WriteAsync(new byte[size], token));
        }

        async Task SendAsync(ValueTask<FlushResult> flush)
        {
            await loopback.SkipAsync(size);
            Assert.False((await flush).IsCompleted);
            Assert.Null(BufferOf(writer));
        }
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_buffer")]
    static extern ref byte[]? BufferOf(InlineWriter writer);
}
