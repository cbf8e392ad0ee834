
namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>A connection of one node that records the IDs of its received messages.</summary>
sealed class ClusterListener
{
    readonly TestEngine _broadcast;

    ClusterListener(TestEngine broadcast)
    {
        _broadcast = broadcast;
        Sink = new ManualSink(frames => Problem ??= FrameParser.Read(frames.Span, (_, payload) => Got.Add(BitConverter.ToInt32(payload))));
    }

    public Connection Connection { get; private set; } = null!;

    public ManualSink Sink { get; }

    public FakeRequest Request { get; } = new();

    public List<int> Got { get; } = [];

    public string? Problem { get; private set; }

    public static async Task<ClusterListener> ConnectAsync(TestEngine broadcast, string home = "/home", string? user = null, ManualPump? pump = null, Replay replay = default)
    {
        var listener = new ClusterListener(broadcast);
        if (user is not null) listener.Request.UserId = user;
        listener.Connection = await broadcast.ConnectAsync(pump ?? broadcast.Pumps[0], home, listener.Sink, listener.Request, replay);
        return listener;
    }

    /// <summary>Does what the endpoint does when the request ends.</summary>
    public void Disconnect()
    {
        _broadcast.Remove(Connection);
        _ = Connection.Writer.DetachAsync();
        Connection.End();
    }

    public void AssertNoViolation()
    {
        Assert.Null(Problem);
        Assert.Null(Sink.Violation);
    }

    /// <summary>Asserts that exactly these messages arrived in this order and that the connection is open.</summary>
    public void AssertGot(params int[] numbers)
    {
        AssertNoViolation();
        Assert.Equal(numbers, Got);
        Assert.Null(Connection.Writer.ClosingStatus);
    }

    /// <summary>
    /// Asserts that these messages arrived and that the connection was then closed because of a loss.
    /// </summary>
    public void AssertLost(params int[] numbers)
    {
        AssertNoViolation();
        Assert.Equal(numbers, Got);
        Assert.Equal((CloseStatus.TryAgainLater, EndReason.ClusterLost), (Sink.Closed, Connection.EndReason));
    }
}
