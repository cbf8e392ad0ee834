using System.Buffers;
using System.IO.Pipelines;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Transport;

public sealed class InlineWriterTests : IDisposable
{
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    readonly Line _line = Line.Open();

    InlineWriter Writer => _line.Writer;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _line.Dispose();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(65_536)]
    [InlineData(65_537)]
    [InlineData(5_000_000)]
    public void There_is_room_for_as_much_as_the_hint_says_and_always_for_something(int hint)
    {
        Assert.InRange(Writer.GetMemory(hint).Length, Math.Max(hint, 1), int.MaxValue);
        Assert.InRange(Writer.GetSpan(hint).Length, Math.Max(hint, 1), int.MaxValue);
        Writer.Advance(Writer.GetMemory(hint).Length);
        Assert.InRange(Writer.GetSpan(hint).Length, Math.Max(hint, 1), int.MaxValue);
        Assert.InRange(Writer.GetMemory(hint).Length, Math.Max(hint, 1), int.MaxValue);
    }

    [Fact]
    public void A_hint_and_an_advance_out_of_range_are_refused()
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
    public async Task What_is_not_flushed_stays_and_moves_along_when_the_buffer_grows()
    {
        Assert.True(Writer.CanGetUnflushedBytes);
        _line.Write(10);
        _line.Write(200_000, hint: count => count);
        _line.Write(300_000, hint: _ => 0);
        Writer.Write(_line.Next(100_000));
        Assert.Equal(_line.Written, Writer.UnflushedBytes);

        var flush = Writer.FlushAsync(Token);

        Assert.Equal(0, Writer.UnflushedBytes);
        await _line.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(flush));
        Assert.Equal(0, Writer.UnflushedBytes);
        await _line.ReadToEndAsync();
    }

    [Fact]
    public async Task A_flush_of_nothing_ends_at_once_and_sends_nothing()
    {
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
            Writer.GetMemory();
        }

        _line.Write(1);
        Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
        Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
        await _line.ReadToEndAsync();
        _line.AssertNotAborted();
    }

    [Fact]
    public async Task A_write_flushes_what_is_there_and_itself()
    {
        _line.Write(10);

        Assert.Equal((false, false), Now(Writer.WriteAsync(_line.Next(1_000), Token)));

        await _line.ReadToEndAsync();
    }

    [Fact]
    public async Task A_flush_waits_until_the_last_byte_is_with_the_operating_system()
    {
        for (var round = 0; round < 3; round++)
        {
            var flush = _line.Stall(Token);
            await _line.ReadAsync(Line.TooMuch / 2);
            Assert.False(flush.IsCompleted);
            await _line.ReadRestAsync();
            Assert.Equal((false, false), await ResultAsync(flush));
            _line.Write(5);
            Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
        }

        await _line.ReadToEndAsync();
        _line.AssertNotAborted();
    }

    [Fact]
    public async Task After_a_partial_send_only_the_rest_is_sent()
    {
        // Less than fits into a buffer, and a little more than the socket takes.
        foreach (var size in new[] { 20_000, 30_000, 40_000, 60_000, 65_536 })
        {
            _line.Write(size);
            var flush = Writer.FlushAsync(Token);
            await _line.ReadRestAsync();
            Assert.Equal((false, false), await ResultAsync(flush));
        }

        await _line.ReadToEndAsync();
    }

    [Theory]
    [InlineData(1, 4 * 1024)]
    [InlineData(2, 16 * 1024)]
    [InlineData(3, 64 * 1024)]
    public async Task Every_byte_arrives_once_and_in_order_whatever_the_sizes(int seed, int buffers)
    {
        const int Total = 16 * 1024 * 1024;
        using var line = Line.Open(buffers);
        var random = new Random(seed);
        var readerRandom = new Random(seed);
        // The reader begins when a flush has to wait for it, so that at least one does.
        var waits = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

        await Task.WhenAll(Task.Run(WriteAsync, Token), Task.Run(ReadAsync, Token));

        await line.ReadToEndAsync();
        line.AssertNotAborted();

        async Task WriteAsync()
        {
            while (line.Written < Total)
            {
                var size = (int)Math.Min(Total - line.Written, NextSize(random));
                if (random.Next(2) == 0) line.Write(size, hint: count => random.Next(count + 1));
                else line.Writer.Write(line.Next(size));
                if (random.Next(4) == 0) continue;
                var flush = line.Writer.FlushAsync(Token);
                if (!flush.IsCompleted) waits.TrySetResult();
                Assert.Equal((false, false), await ResultAsync(flush));
            }

            Assert.Equal((false, false), await ResultAsync(line.Writer.FlushAsync(Token)));
        }

        async Task ReadAsync()
        {
            await waits.Task;
            await line.ReadAsync(Total, () => readerRandom.Next(1, 64 * 1024));
        }
    }

    [Fact]
    public async Task A_flush_that_is_cancelled_ends_and_what_it_had_to_send_goes_on_and_comes_before_what_follows()
    {
        var first = _line.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(first));

        var second = _line.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(second));

        _line.Write(1);
        Assert.Equal(1, Writer.UnflushedBytes);
        var third = Writer.FlushAsync(Token);
        Assert.Equal(0, Writer.UnflushedBytes);
        Assert.False(third.IsCompleted);
        await _line.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(third));
        await _line.ReadToEndAsync();
        _line.AssertNotAborted();
    }

    [Fact]
    public async Task A_flush_that_a_token_ends_goes_on_sending_and_the_next_waits_for_both()
    {
        using var cancellation = new CancellationTokenSource();
        var first = _line.Stall(cancellation.Token);
        await cancellation.CancelAsync();
        var exception = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => ResultAsync(first));
        Assert.Equal(cancellation.Token, exception.CancellationToken);

        _line.Write(70_000);
        var second = Writer.FlushAsync(Token);
        Assert.False(second.IsCompleted);
        await _line.ReadAsync(Line.TooMuch / 2);
        Assert.False(second.IsCompleted);
        await _line.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(second));
        await _line.ReadToEndAsync();
    }

    [Fact]
    public async Task A_token_that_is_cancelled_before_flushes_nothing()
    {
        _line.Write(10);

        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await Writer.FlushAsync(new(canceled: true)));

        Assert.Equal(10, Writer.UnflushedBytes);
        Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
        await _line.ReadToEndAsync();
    }

    [Fact]
    public async Task A_token_that_is_cancelled_after_its_flush_changes_nothing()
    {
        using var cancellation = new CancellationTokenSource();
        var first = _line.Stall(cancellation.Token);
        await _line.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(first));
        var second = _line.Stall(Token);

        await cancellation.CancelAsync();

        Assert.False(second.IsCompleted);
        await _line.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(second));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_cancellation_ahead_of_time_is_for_the_next_flush_only(bool waits)
    {
        Writer.CancelPendingFlush();
        Writer.CancelPendingFlush();

        _line.Write(waits ? Line.TooMuch : 1);
        Assert.Equal((true, false), Now(Writer.FlushAsync(Token)));
        _line.Write(1);
        var next = Writer.FlushAsync(Token);

        Assert.Equal(waits, !next.IsCompleted);
        await _line.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(next));
        await _line.ReadToEndAsync();
    }

    [Fact]
    public async Task A_cancellation_ahead_of_time_ends_a_flush_behind_one_that_was_given_up()
    {
        var first = _line.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(first));
        Writer.CancelPendingFlush();

        _line.Write(100);
        Assert.Equal((true, false), Now(Writer.FlushAsync(Token)));
        var last = Writer.FlushAsync(Token);

        Assert.False(last.IsCompleted);
        await _line.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(last));
        await _line.ReadToEndAsync();
    }

    [Fact]
    public async Task What_is_written_while_a_flush_that_was_given_up_comes_to_its_end_stays()
    {
        // Nothing tells when it does; mostly it has before the second write.
        for (var round = 0; round < 100; round++)
        {
            _line.Write(100_000);
            var flush = Writer.FlushAsync(Token);
            Writer.CancelPendingFlush();
            Assert.Equal((true, false), await ResultAsync(flush));
            _line.Write(100);
            await _line.ReadAsync(100_000);
            await Task.Yield();
            _line.Write(100);

            Assert.Equal(200, Writer.UnflushedBytes);
            Assert.Equal((false, false), await ResultAsync(Writer.FlushAsync(Token)));
            await _line.ReadAsync(200);
        }

        await _line.ReadToEndAsync();
    }

    [Fact]
    public async Task What_is_being_sent_for_a_flush_that_was_given_up_is_not_overwritten()
    {
        var flush = _line.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(flush));

        // To a new buffer; the one before is still read by the operating system and must not come into other hands.
        _line.Write(2 * Line.TooMuch, hint: count => count);
        var others = new List<byte[]>();
        for (var size = 16; size <= 4 * Line.TooMuch; size *= 2)
        {
            for (var i = 0; i < 4; i++)
            {
                var other = ArrayPool<byte>.Shared.Rent(size);
                Array.Fill(other, (byte)'x');
                others.Add(other);
            }
        }

        var last = Writer.FlushAsync(Token);
        await _line.ReadRestAsync();
        Assert.Equal((false, false), await ResultAsync(last));
        await _line.ReadToEndAsync();
        foreach (var other in others) ArrayPool<byte>.Shared.Return(other);
    }

    [Fact]
    public async Task There_is_room_though_what_was_given_up_filled_the_buffer_and_has_gone()
    {
        // Nothing tells that the last of it has gone; mostly it has.
        for (var round = 0; round < 100; round++)
        {
            // More than half of the buffer has to wait, so that it stays where it is, and fills it.
            _line.Write(Writer.GetMemory().Length);
            var flush = Writer.FlushAsync(Token);
            Writer.CancelPendingFlush();
            Assert.Equal((true, false), await ResultAsync(flush));
            await _line.ReadRestAsync();
            await Task.Yield();

            Assert.False(Writer.GetMemory().IsEmpty, "There is no room.");

            Assert.Equal((false, false), await ResultAsync(Writer.WriteAsync(_line.Next(100), Token)));
            await _line.ReadRestAsync();
        }
    }

    [Theory]
    [InlineData(1, 4 * 1024)]
    [InlineData(2, 16 * 1024)]
    [InlineData(3, 32 * 1024)]
    public async Task Nothing_is_lost_or_exchanged_however_many_flushes_are_given_up_and_when(int seed, int buffers)
    {
        const int Total = 12 * 1024 * 1024;
        using var line = Line.Open(buffers);
        var random = new Random(seed);
        var readerRandom = new Random(seed);
        var givenUp = 0;

        await Task.WhenAll(
            Task.Run(WriteAsync, Token),
            Task.Run(() => line.ReadAsync(Total, () => readerRandom.Next(1, 32 * 1024)), Token));

        Assert.True(givenUp > 10, $"Only {givenUp} flushes were given up.");
        await line.ReadToEndAsync();
        line.AssertNotAborted();

        async Task WriteAsync()
        {
            while (line.Written < Total)
            {
                line.Write((int)Math.Min(Total - line.Written, NextSize(random)), hint: count => random.Next(1, count + 1));
                var how = random.Next(4);
                // Not much further ahead than it would be if nothing were given up.
                if (how == 3 || random.Next(8) == 0) await FlushAsync(Token);
                else if (how < 2) await GiveUpAsync(how == 0, random.Next(4));
            }

            // At most one cancellation is left.
            if (await FlushAsync(Token)) Assert.False(await FlushAsync(Token));
            line.Writer.Complete();
            await line.Writer.FinishAsync().WaitAsync(Patience, Token);
        }

        async Task GiveUpAsync(bool byToken, int yields)
        {
            using var cancellation = new CancellationTokenSource();
            // Before, during or after.
            var canceling = Task.Run(async () =>
            {
                for (var i = 0; i < yields; i++) await Task.Yield();
                if (byToken) await cancellation.CancelAsync();
                else line.Writer.CancelPendingFlush();
            }, Token);
            if (await FlushAsync(cancellation.Token)) givenUp++;
            await canceling;
        }

        // Whether it was given up. A cancellation that came too late for its own flush is one for the next.
        async Task<bool> FlushAsync(CancellationToken token)
        {
            try
            {
                var (isCanceled, isCompleted) = await ResultAsync(line.Writer.FlushAsync(token));
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
    public async Task A_reset_ends_the_flush_that_waits_and_the_connection()
    {
        var flush = _line.Stall(Token);

        _line.ResetByPeer();

        Assert.Equal((false, true), await ResultAsync(flush));
        _line.AssertAborted();
        AssertIsOver();
    }

    [Fact]
    public async Task A_reset_is_noticed_by_a_flush_that_does_not_wait()
    {
        _line.ResetByPeer();

        await Eventually.True(() =>
        {
            Writer.Write("x"u8);
            return Now(Writer.FlushAsync(Token)).IsCompleted;
        });

        _line.AssertAborted();
        AssertIsOver();
    }

    [Fact]
    public async Task A_reset_while_a_flush_that_was_given_up_goes_on_ends_the_connection_and_the_next_flush()
    {
        var flush = _line.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(flush));
        _line.Write(10);
        var next = Writer.FlushAsync(Token);

        _line.ResetByPeer();

        Assert.Equal((false, true), await ResultAsync(next));
        _line.AssertAborted();
        AssertIsOver();
    }

    [Fact]
    public async Task A_reset_after_the_last_flush_was_given_up_ends_the_connection_without_anyone_asking()
    {
        var flush = _line.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(flush));

        _line.ResetByPeer();

        await Writer.FinishAsync().WaitAsync(Patience, Token);
        await Eventually.True(() => _line.Connection.ReceivedCalls().Any());
        _line.AssertAborted();
    }

    [Fact]
    public async Task A_socket_that_is_disposed_while_a_flush_waits_ends_it()
    {
        var flush = _line.Stall(Token);

        _line.DisposeSocket();

        Assert.Equal((false, true), await ResultAsync(flush));
        _line.AssertAborted();
        AssertIsOver();
    }

    [Fact]
    public void A_socket_that_is_disposed_before_ends_a_flush_at_once()
    {
        _line.DisposeSocket();

        Assert.Equal((false, false), Now(Writer.FlushAsync(Token)));
        _line.AssertNotAborted();
        _line.Write(1);
        Assert.Equal((false, true), Now(Writer.FlushAsync(Token)));
        _line.AssertAborted();
        AssertIsOver();
    }

    [Theory]
    [InlineData(100)]
    [InlineData(Line.TooMuch)]
    public async Task What_was_written_before_it_was_completed_is_sent(int size)
    {
        _line.Write(size);

        Writer.Complete();
        Writer.Complete(new InvalidOperationException());

        Assert.Throws<InvalidOperationException>(() => Writer.GetMemory());
        Assert.Throws<InvalidOperationException>(() => Writer.GetSpan());
        var finish = Writer.FinishAsync();
        Assert.Equal(size < Line.TooMuch, finish.IsCompleted);
        await _line.ReadRestAsync();
        await finish.WaitAsync(Patience, Token);
        await _line.ReadToEndAsync();
    }

    [Fact]
    public async Task What_was_written_after_a_flush_was_given_up_is_sent_when_it_is_completed()
    {
        var flush = _line.Stall(Token);
        Writer.CancelPendingFlush();
        Assert.Equal((true, false), await ResultAsync(flush));
        _line.Write(100);

        await Writer.CompleteAsync();

        var finish = Writer.FinishAsync();
        Assert.False(finish.IsCompleted);
        await _line.ReadRestAsync();
        await finish.WaitAsync(Patience, Token);
        await _line.ReadToEndAsync();
    }

    [Fact]
    public async Task It_is_finished_when_a_flush_that_was_given_up_has_sent_everything()
    {
        using var cancellation = new CancellationTokenSource();
        var flush = _line.Stall(cancellation.Token);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => ResultAsync(flush));

        var finish = Writer.FinishAsync();

        await _line.ReadAsync(Line.TooMuch / 2);
        Assert.False(finish.IsCompleted);
        await _line.ReadRestAsync();
        await finish.WaitAsync(Patience, Token);
        await _line.ReadToEndAsync();
    }

    [Fact]
    public async Task It_is_finished_at_once_when_nothing_is_under_way()
    {
        using var other = Line.Open();
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
            _line.Write(100_000);
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
        Assert.True(flush.IsCompletedSuccessfully, "The flush waits.");
        return (flush.Result.IsCanceled, flush.Result.IsCompleted);
    }

    static async Task<(bool IsCanceled, bool IsCompleted)> ResultAsync(ValueTask<FlushResult> flush)
    {
        var result = await flush.AsTask().WaitAsync(Patience, Token);
        return (result.IsCanceled, result.IsCompleted);
    }
}
