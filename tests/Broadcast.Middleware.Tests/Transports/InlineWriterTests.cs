using System.Buffers;
using System.IO.Pipelines;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Transports;

public sealed class InlineWriterTests : IDisposable
{
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    readonly LoopbackConnection _loopback = LoopbackConnection.Open();

    InlineWriter Writer => _loopback.Writer;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _loopback.Dispose();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(65_536)]
    [InlineData(65_537)]
    [InlineData(5_000_000)]
    public void GetMemory_AnyHint_ReturnsEnoughSpace(int hint)
    {
        Assert.InRange(Writer.GetMemory(hint).Length, Math.Max(hint, 1), int.MaxValue);
        Assert.InRange(Writer.GetSpan(hint).Length, Math.Max(hint, 1), int.MaxValue);
        Writer.Advance(Writer.GetMemory(hint).Length);
        Assert.InRange(Writer.GetSpan(hint).Length, Math.Max(hint, 1), int.MaxValue);
        Assert.InRange(Writer.GetMemory(hint).Length, Math.Max(hint, 1), int.MaxValue);
    }

    [Fact]
    public void GetMemoryAndAdvance_OutOfRange_Throw()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => Writer.GetMemory(-1));
        Assert.Throws<ArgumentOutOfRangeException>(() => Writer.GetSpan(-1));
        Writer.Advance(0);
        Assert.Throws<ArgumentOutOfRangeException>(() => Writer.Advance(1));
        var length = Writer.GetMemory().Length;
        Assert.Throws<ArgumentOutOfRangeException>(() => Writer.Advance(-1));
        Assert.Throws<ArgumentOutOfRangeException>(() => Writer.Advance(length + 1));
        Writer.Advance(length);
        Assert.Throws<ArgumentOutOfRangeException>(() => Writer.Advance(1));
        Assert.Equal(length, Writer.UnflushedBytes);
    }

    [Fact]
    public async Task UnflushedBytes_WhenBufferGrows_AreKept()
    {
        Assert.True(Writer.CanGetUnflushedBytes);
        _loopback.Write(10);
        _loopback.Write(200_000, hint: count => count);
        _loopback.Write(300_000, hint: _ => 0);
        Writer.Write(_loopback.Next(100_000));
        Assert.Equal(_loopback.Written, Writer.UnflushedBytes);

        var flush = Writer.FlushAsync(Token);

        Assert.Equal(0, Writer.UnflushedBytes);
        await _loopback.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(flush));
        Assert.Equal(0, Writer.UnflushedBytes);
        await _loopback.ReadToEndAsync();
    }

    [Fact]
    public async Task Flush_WithoutBytes_CompletesAndSendsNothing()
    {
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
            Writer.GetMemory();
        }

        _loopback.Write(1);
        Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
        Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
        await _loopback.ReadToEndAsync();
        _loopback.AssertNotAborted();
    }

    [Fact]
    public async Task Write_AfterUnflushedBytes_FlushesUnflushedAndNewBytes()
    {
        _loopback.Write(10);

        Assert.Equal((false, false), Now(Writer.WriteAsync(_loopback.Next(1_000), Token)));

        await _loopback.ReadToEndAsync();
    }

    [Fact]
    public async Task Flush_SocketBufferFull_CompletesAfterLastByte()
    {
        for (var round = 0; round < 3; round++)
        {
            var flush = _loopback.Stall(Token);
            await _loopback.ReadAsync(LoopbackConnection.TooMuch / 2);
            Assert.False(flush.IsCompleted);
            await _loopback.ReadRestAsync();
            Assert.Equal((false, false), await ResultAsync(flush));
            _loopback.Write(5);
            Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
        }

        await _loopback.ReadToEndAsync();
        _loopback.AssertNotAborted();
    }

    [Fact]
    public async Task Flush_AfterPartialSend_SendsOnlyRemainingBytes()
    {
        // These sizes fit into a buffer, but are slightly larger than the free space of the socket.
        foreach (var size in new[] { 20_000, 30_000, 40_000, 60_000, 65_536 })
        {
            _loopback.Write(size);
            var flush = Writer.FlushAsync(Token);
            await _loopback.ReadRestAsync();
            Assert.Equal((false, false), await ResultAsync(flush));
        }

        await _loopback.ReadToEndAsync();
    }

    [Theory]
    [InlineData(1, 4 * 1024)]
    [InlineData(2, 16 * 1024)]
    [InlineData(3, 64 * 1024)]
    public async Task Writes_OfRandomSizes_ArriveOnceAndInOrder(int seed, int buffers)
    {
        const int Total = 16 * 1024 * 1024;
        using var loopback = LoopbackConnection.Open(buffers);
        var random = new Random(seed);
        var readerRandom = new Random(seed);
        // Start the reader only when a flush is pending, so that at least one flush waits.
        var waits = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

        await Task.WhenAll(Task.Run(WriteAsync, Token), Task.Run(ReadAsync, Token));

        await loopback.ReadToEndAsync();
        loopback.AssertNotAborted();

        async Task WriteAsync()
        {
            while (loopback.Written < Total)
            {
                var size = (int)Math.Min(Total - loopback.Written, NextSize(random));
                if (random.Next(2) == 0) loopback.Write(size, hint: count => random.Next(count + 1));
                else loopback.Writer.Write(loopback.Next(size));
                if (random.Next(4) == 0) continue;
                var flush = loopback.Writer.FlushAsync(Token);
                if (!flush.IsCompleted) waits.TrySetResult();
                Assert.Equal((false, false), await ResultAsync(flush));
            }

            Assert.Equal((false, false), await ResultAsync(loopback.Writer.FlushAsync(Token)));
        }

        async Task ReadAsync()
        {
            await waits.Task;
            await loopback.ReadAsync(Total, () => readerRandom.Next(1, 64 * 1024));
        }
    }

    [Fact]
    public async Task CancelPendingFlush_PendingBytes_AreStillSentInOrder()
    {
        var first = _loopback.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(first));

        var second = _loopback.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(second));

        _loopback.Write(1);
        Assert.Equal(1, Writer.UnflushedBytes);
        var third = Writer.FlushAsync(Token);
        Assert.Equal(0, Writer.UnflushedBytes);
        Assert.False(third.IsCompleted);
        await _loopback.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(third));
        await _loopback.ReadToEndAsync();
        _loopback.AssertNotAborted();
    }

    [Fact]
    public async Task Flush_PreviousFlushCanceledByToken_WaitsForBytesOfBothFlushes()
    {
        using var cancellation = new CancellationTokenSource();
        var first = _loopback.Stall(cancellation.Token);
        await cancellation.CancelAsync();
        var exception = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => ResultAsync(first));
        Assert.Equal(cancellation.Token, exception.CancellationToken);

        _loopback.Write(70_000);
        var second = Writer.FlushAsync(Token);
        Assert.False(second.IsCompleted);
        await _loopback.ReadAsync(LoopbackConnection.TooMuch / 2);
        Assert.False(second.IsCompleted);
        await _loopback.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(second));
        await _loopback.ReadToEndAsync();
    }

    [Fact]
    public async Task Flush_AlreadyCanceledToken_SendsNoBytes()
    {
        _loopback.Write(10);

        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await Writer.FlushAsync(new(canceled: true)));

        Assert.Equal(10, Writer.UnflushedBytes);
        Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
        await _loopback.ReadToEndAsync();
    }

    [Fact]
    public async Task Flush_TokenCanceledAfterCompletion_DoesNotAffectNextFlush()
    {
        using var cancellation = new CancellationTokenSource();
        var first = _loopback.Stall(cancellation.Token);
        await _loopback.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(first));
        var second = _loopback.Stall(Token);

        await cancellation.CancelAsync();

        Assert.False(second.IsCompleted);
        await _loopback.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(second));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task CancelPendingFlush_BeforeFlush_AffectsOnlyNextFlush(bool waits)
    {
        Writer.CancelPendingFlush();
        Writer.CancelPendingFlush();

        _loopback.Write(waits ? LoopbackConnection.TooMuch : 1);
        Assert.Equal((true, false), Now(Writer.FlushAsync(Token)));
        _loopback.Write(1);
        var next = Writer.FlushAsync(Token);

        Assert.Equal(waits, !next.IsCompleted);
        await _loopback.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(next));
        await _loopback.ReadToEndAsync();
    }

    [Fact]
    public async Task CancelPendingFlush_BehindAbandonedFlush_EndsNextFlush()
    {
        var first = _loopback.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(first));
        Writer.CancelPendingFlush();

        _loopback.Write(100);
        Assert.Equal((true, false), Now(Writer.FlushAsync(Token)));
        var last = Writer.FlushAsync(Token);

        Assert.False(last.IsCompleted);
        await _loopback.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(last));
        await _loopback.ReadToEndAsync();
    }

    [Fact]
    public async Task Write_WhileAbandonedFlushCompletes_IsKept()
    {
        // The test cannot observe the moment in which the flush completes. The flush usually completes before the second write.
        for (var round = 0; round < 100; round++)
        {
            _loopback.Write(100_000);
            var flush = Writer.FlushAsync(Token);
            Writer.CancelPendingFlush();
            Assert.Equal((true, false), await ResultAsync(flush));
            _loopback.Write(100);
            await _loopback.ReadAsync(100_000);
            await Task.Yield();
            _loopback.Write(100);

            Assert.Equal(200, Writer.UnflushedBytes);
            Assert.Equal((false, false), await ResultAsync(Writer.FlushAsync(Token)));
            await _loopback.ReadAsync(200);
        }

        await _loopback.ReadToEndAsync();
    }

    /// <summary>A pipe allows writes while a flush is pending. Connection handlers of an app may rely on this behavior.</summary>
    [Fact]
    public async Task Write_WhileFlushIsPending_IsKept()
    {
        for (var round = 0; round < 20; round++)
        {
            var flush = _loopback.Stall(Token);
            _loopback.Write(100);
            await _loopback.ReadAsync(LoopbackConnection.TooMuch);

            Assert.Equal((false, false), await ResultAsync(flush));
            Assert.Equal(100, Writer.UnflushedBytes);
            Assert.Equal((false, false), await ResultAsync(Writer.FlushAsync(Token)));
            await _loopback.ReadAsync(100);
        }

        await _loopback.ReadToEndAsync();
    }

    [Fact]
    public async Task AbandonedFlush_BufferInUse_IsNotOverwritten()
    {
        var flush = _loopback.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(flush));

        // This write uses a new buffer. The operating system still reads the old buffer, so the pool must not give the
        // old buffer to another writer.
        _loopback.Write(2 * LoopbackConnection.TooMuch, hint: count => count);
        var others = new List<byte[]>();
        for (var size = 16; size <= 4 * LoopbackConnection.TooMuch; size *= 2)
        {
            for (var i = 0; i < 4; i++)
            {
                var other = ArrayPool<byte>.Shared.Rent(size);
                Array.Fill(other, (byte)'x');
                others.Add(other);
            }
        }

        var last = Writer.FlushAsync(Token);
        await _loopback.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(last));
        await _loopback.ReadToEndAsync();
        foreach (var other in others) ArrayPool<byte>.Shared.Return(other);
    }

    [Fact]
    public async Task GetMemory_AfterAbandonedFlushFilledBuffer_HasSpace()
    {
        // The test cannot observe the moment in which the operating system sends the last byte. The operating system
        // usually sends this byte before the next step.
        for (var round = 0; round < 100; round++)
        {
            // More than half of the buffer contains unsent bytes. The writer therefore does not move these bytes, and they fill the buffer.
            _loopback.Write(Writer.GetMemory().Length);
            var flush = Writer.FlushAsync(Token);
            Writer.CancelPendingFlush();
            Assert.Equal((true, false), await ResultAsync(flush));
            await _loopback.ReadRestAsync();
            await Task.Yield();

            Assert.False(Writer.GetMemory().IsEmpty, "GetMemory returned no space.");

            Assert.Equal((false, false), await ResultAsync(Writer.WriteAsync(_loopback.Next(100), Token)));
            await _loopback.ReadRestAsync();
        }
    }

    [Theory]
    [InlineData(1, 4 * 1024)]
    [InlineData(2, 16 * 1024)]
    [InlineData(3, 32 * 1024)]
    public async Task AbandonedFlushes_AtRandomTimes_LoseAndReorderNoBytes(int seed, int buffers)
    {
        const int Total = 12 * 1024 * 1024;
        using var loopback = LoopbackConnection.Open(buffers);
        var random = new Random(seed);
        var readerRandom = new Random(seed);
        var givenUp = 0;

        await Task.WhenAll(
            Task.Run(WriteAsync, Token),
            Task.Run(() => loopback.ReadAsync(Total, () => readerRandom.Next(1, 32 * 1024)), Token));

        Assert.True(givenUp > 10, $"Only {givenUp} flushes were abandoned.");
        await loopback.ReadToEndAsync();
        loopback.AssertNotAborted();

        async Task WriteAsync()
        {
            while (loopback.Written < Total)
            {
                loopback.Write((int)Math.Min(Total - loopback.Written, NextSize(random)), hint: count => random.Next(1, count + 1));
                var how = random.Next(4);
                // Wait for the reader, so that the writer does not run far ahead of it.
                if (how == 3 || random.Next(8) == 0) await FlushAsync(Token);
                else if (how < 2) await GiveUpAsync(how == 0, random.Next(4));
            }

            // At most one cancellation may still be pending.
            if (await FlushAsync(Token)) Assert.False(await FlushAsync(Token));
            loopback.Writer.Complete();
            await loopback.Writer.FinishAsync().WaitAsync(Patience, Token);
        }

        async Task GiveUpAsync(bool byToken, int yields)
        {
            using var cancellation = new CancellationTokenSource();
            // The cancellation comes before, during or after the flush.
            var canceling = Task.Run(async () =>
            {
                for (var i = 0; i < yields; i++) await Task.Yield();
                if (byToken) await cancellation.CancelAsync();
                else loopback.Writer.CancelPendingFlush();
            }, Token);
            if (await FlushAsync(cancellation.Token)) givenUp++;
            await canceling;
        }

        // Returns true if the cancellation ended the flush early. A late cancellation affects the next flush.
        async Task<bool> FlushAsync(CancellationToken token)
        {
            try
            {
                var (isCanceled, isCompleted) = await ResultAsync(loopback.Writer.FlushAsync(token));
                Assert.False(isCompleted);
                return isCanceled;
            }
            catch (OperationCanceledException) when (token.IsCancellationRequested && token != Token)
            {
                return true;
            }
        }
    }

    [Fact]
    public async Task PeerReset_DuringPendingFlush_EndsFlushAndConnection()
    {
        var flush = _loopback.Stall(Token);

        _loopback.ResetByPeer();

        Assert.Equal((false, true), await ResultAsync(flush));
        _loopback.AssertAborted();
        AssertIsOver();
    }

    [Fact]
    public async Task PeerReset_BeforeFlush_EndsFlushAndConnection()
    {
        _loopback.ResetByPeer();

        await Eventually.True(() =>
        {
            Writer.Write("x"u8);
            return Now(Writer.FlushAsync(Token)).IsCompleted;
        });

        _loopback.AssertAborted();
        AssertIsOver();
    }

    [Fact]
    public async Task PeerReset_WithAbandonedFlush_EndsConnectionAndNextFlush()
    {
        var flush = _loopback.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(flush));
        _loopback.Write(10);
        var next = Writer.FlushAsync(Token);

        _loopback.ResetByPeer();

        Assert.Equal((false, true), await ResultAsync(next));
        _loopback.AssertAborted();
        AssertIsOver();
    }

    [Fact]
    public async Task PeerReset_AfterLastFlushWasAbandoned_EndsConnection()
    {
        var flush = _loopback.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(flush));

        _loopback.ResetByPeer();

        await Writer.FinishAsync().WaitAsync(Patience, Token);
        await Eventually.True(() => _loopback.Connection.ReceivedCalls().Any());
        _loopback.AssertAborted();
    }

    [Fact]
    public async Task DisposedSocket_DuringPendingFlush_EndsFlush()
    {
        var flush = _loopback.Stall(Token);

        _loopback.DisposeSocket();

        Assert.Equal((false, true), await ResultAsync(flush));
        _loopback.AssertAborted();
        AssertIsOver();
    }

    [Fact]
    public void DisposedSocket_BeforeFlush_EndsFlushAtOnce()
    {
        _loopback.DisposeSocket();

        Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
        _loopback.AssertNotAborted();
        _loopback.Write(1);
        Assert.Equal((false, true), Now(Writer.FlushAsync(Token)));
        _loopback.AssertAborted();
        AssertIsOver();
    }

    [Theory]
    [InlineData(100)]
    [InlineData(LoopbackConnection.TooMuch)]
    public async Task Complete_WithUnflushedBytes_SendsUnflushedBytes(int size)
    {
        _loopback.Write(size);

        Writer.Complete();
        Writer.Complete(new InvalidOperationException());

        Assert.Throws<InvalidOperationException>(() => Writer.GetMemory());
        Assert.Throws<InvalidOperationException>(() => Writer.GetSpan());
        var finish = Writer.FinishAsync();
        Assert.Equal(size < LoopbackConnection.TooMuch, finish.IsCompleted);
        await _loopback.ReadRestAsync();
        await finish.WaitAsync(Patience, Token);
        await _loopback.ReadToEndAsync();
    }

    [Fact]
    public async Task Complete_AfterAbandonedFlush_SendsUnflushedBytes()
    {
        var flush = _loopback.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(flush));
        _loopback.Write(100);

        await Writer.CompleteAsync();

        var finish = Writer.FinishAsync();
        Assert.False(finish.IsCompleted);
        await _loopback.ReadRestAsync();
        await finish.WaitAsync(Patience, Token);
        await _loopback.ReadToEndAsync();
    }

    [Fact]
    public async Task Finish_WithAbandonedFlush_WaitsUntilAllBytesAreSent()
    {
        using var cancellation = new CancellationTokenSource();
        var flush = _loopback.Stall(cancellation.Token);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => ResultAsync(flush));

        var finish = Writer.FinishAsync();

        await _loopback.ReadAsync(LoopbackConnection.TooMuch / 2);
        Assert.False(finish.IsCompleted);
        await _loopback.ReadRestAsync();
        await finish.WaitAsync(Patience, Token);
        await _loopback.ReadToEndAsync();
    }

    [Fact]
    public async Task Finish_NothingPending_CompletesAtOnce()
    {
        using var other = LoopbackConnection.Open();
        Assert.True(Writer.FinishAsync().IsCompletedSuccessfully);

        var flush = other.Stall(Token);
        await other.ReadRestAsync();
        await ResultAsync(flush);

        Assert.True(other.Writer.FinishAsync().IsCompletedSuccessfully);
    }

    void AssertIsOver()
    {
        for (var i = 0; i < 3; i++)
        {
            _loopback.Write(100_000);
            Assert.Equal((false, true), Now(Writer.FlushAsync(Token)));
            Assert.Equal(0, Writer.UnflushedBytes);
        }

        Writer.Complete();
        Assert.True(Writer.FinishAsync().IsCompletedSuccessfully);
    }

    static int NextSize(Random random) => random.Next(10) switch
    {
        < 5 => random.Next(1, 500),
        < 9 => random.Next(1, 70_000),
        _ => random.Next(1, 400_000),
    };

    static (bool IsCanceled, bool IsCompleted) Now(ValueTask<FlushResult> flush)
    {
        Assert.True(flush.IsCompletedSuccessfully, "The flush has not completed synchronously.");
        return (flush.Result.IsCanceled, flush.Result.IsCompleted);
    }

    static async Task<(bool IsCanceled, bool IsCompleted)> ResultAsync(ValueTask<FlushResult> flush)
    {
        var result = await flush.AsTask().WaitAsync(Patience, Token);
        return (result.IsCanceled, result.IsCompleted);
    }
}
