using Broadcast.Middleware.Tests.Limits;

namespace Broadcast.Middleware.Tests.Transport;

/// <summary>Alone, since the heap is everybody's.</summary>
[Collection(nameof(Alone))]
public sealed class InlineWriterMemoryTests
{
    [Fact]
    public void A_flush_that_goes_through_at_once_allocates_nothing()
    {
        using var line = Line.Open(64 * 1024);
        var received = new byte[500];
        Flush(1_000);
        var before = GC.GetAllocatedBytesForCurrentThread();

        Flush(10_000);

        // The runtime may compile something better meanwhile, but a flush costs no byte.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 10_000);

        void Flush(int count)
        {
            for (var i = 0; i < count; i++)
            {
                line.Write(received.Length);
                var flush = line.Writer.FlushAsync(CancellationToken.None);
                if (!flush.IsCompletedSuccessfully) Assert.Fail("The flush waits.");
                flush.GetAwaiter().GetResult();
                line.Read(received);
            }
        }
    }

    [Theory]
    [InlineData(500)]
    [InlineData(Line.TooMuch)]
    public async Task A_writer_with_nothing_to_send_holds_no_buffer(int size)
    {
        var token = TestContext.Current.CancellationToken;
        const int Writers = 300;
        using var line = Line.Open();
        var writers = new List<InlineWriter>();
        await FlushAsync(10);
        var before = GC.GetTotalMemory(forceFullCollection: true);

        await FlushAsync(Writers);

        // Half of a buffer each: the pool keeps some, though not one for every writer.
        var limit = Writers * Math.Max(size, 64 * 1024L) / 2;
        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, limit);
        GC.KeepAlive(writers);

        async Task FlushAsync(int count)
        {
            var message = new byte[size];
            for (var i = 0; i < count; i++)
            {
                var writer = line.NewWriter();
                writers.Add(writer);
                var flush = writer.WriteAsync(message, token);
                await line.SkipAsync(size);
                Assert.False((await flush).IsCompleted);
            }
        }
    }
}
