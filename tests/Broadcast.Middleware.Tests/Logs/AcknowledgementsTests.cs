namespace Broadcast.Middleware.Tests.Logs;

public sealed class AcknowledgementsTests
{
    readonly Acknowledgements _acknowledgements = new(maxBytes: 1000, maxMessages: 10, maxLogs: 2);

    /// <summary>
    /// A client cannot acknowledge a transient message that the client did not receive. The client must still count as
    /// up to date.
    /// </summary>
    [Fact]
    public void IsUpToDate_OnlyTransientMessageUnacknowledged_IsTrue()
    {
        SendStoredThenTransient(5, 6);
        _acknowledgements.Rewind();
        Assert.False(_acknowledgements.IsUpToDate);

        _acknowledgements.OnAcknowledged(5);

        Assert.True(_acknowledgements.IsUpToDate);
        Assert.Equal(6, _acknowledgements.Highest);
    }

    [Fact]
    public void IsComplete_OnlyEarlierTransientMessageUnacknowledged_IsTrue()
    {
        _acknowledgements.StopTracking();
        SendStoredThenTransient(5, 6);
        _acknowledgements.StartTracking();
        Assert.False(_acknowledgements.IsComplete);

        _acknowledgements.OnAcknowledged(5);

        Assert.True(_acknowledgements.IsComplete);
    }

    void SendStoredThenTransient(long stored, long transient)
    {
        _acknowledgements.OnSent(stored, stored, 1, 10);
        _acknowledgements.OnSent(transient, 0, 0, 0);
    }
}
