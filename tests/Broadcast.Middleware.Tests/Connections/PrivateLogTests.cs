namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests senders that wait until the private log of a connection has room.</summary>
public sealed class PrivateLogTests : IDisposable
{
    readonly TestEngine _broadcast = new(maxBacklog: 10_000);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _broadcast.Dispose();

    [Fact]
    public async Task SendAsync_LogIsEmpty_CompletesSynchronously()
    {
        var ann = new Listener(_broadcast);
        for (var i = 0; i < 50; i++)
        {
            var sending = SendAsync(ann, i, 1_000);
            Assert.True(sending.IsCompletedSuccessfully, $"Message {i} waits for room in an empty log.");
            Assert.True(await sending);
            _broadcast.RunUntilIdle();
        }

        ann.AssertGot([.. Enumerable.Range(0, 50)]);
    }

    [Fact]
    public async Task SendAsync_LogIsFull_KeepsOrderOfCalls()
    {
        var ann = new Listener(_broadcast);
        ann.Sink.Mode = WriteMode.Later;
        var sizes = new[] { 100, 3_000, 4_000, 10, 4_000, 10 };
        Task<bool>[] sending = [.. sizes.Select((size, i) => SendAsync(ann, i, size).AsTask())];
        Assert.Equal([true, true, false, false, false, false], sending.Select(static task => task.IsCompleted));

        await ReadAllAsync(ann, sending);

        Assert.All(sending, static task => Assert.True(task.Result));
        ann.AssertGot([.. Enumerable.Range(0, sizes.Length)]);
    }

    [Fact]
    public async Task SendAsync_WaitingCallIsCanceled_SendsOtherMessagesInOrder()
    {
        var ann = new Listener(_broadcast);
        ann.Sink.Mode = WriteMode.Later;
        using var canceled = new CancellationTokenSource();
        Assert.True(await SendAsync(ann, 0, 4_000));
        Task<bool>[] waiting =
        [
            SendAsync(ann, 1, 4_000).AsTask(), SendAsync(ann, 2, 4_000, canceled).AsTask(),
            SendAsync(ann, 3, 4_000).AsTask(), SendAsync(ann, 4, 10).AsTask(),
        ];

        await canceled.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting[1].WaitAsync(Eventually.Patience, Token));
        Assert.False(waiting[0].IsCompleted || waiting[2].IsCompleted || waiting[3].IsCompleted);
        await ReadAllAsync(ann, waiting);
        ann.AssertGot(0, 1, 3, 4);
    }

    static ValueTask<bool> SendAsync(Listener listener, int number, int size, CancellationTokenSource? canceled = null)
    {
        var payload = new byte[size];
        BitConverter.TryWriteBytes(payload, number);
        return listener.Connection.SendAsync(new(payload, MessageType.Binary), null, canceled?.Token ?? Token);
    }

    Task ReadAllAsync(Listener listener, Task[] sending) => Eventually.True(() =>
    {
        _broadcast.RunUntilWritten(() => [listener.Sink]);
        return Array.TrueForAll(sending, static task => task.IsCompleted) && !listener.Sink.IsWriting;
    });
}
