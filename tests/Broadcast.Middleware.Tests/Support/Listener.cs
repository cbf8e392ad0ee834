
namespace Broadcast.Middleware.Tests.Support;

/// <summary>A connection that records the IDs of its received messages.</summary>
sealed class Listener
{
    readonly TestEngine _broadcast;

    public Listener(TestEngine broadcast, string home = "/home", ManualPump? pump = null, FakeRequest? request = null, SubscriptionFilter? filter = null)
        : this(broadcast, request ?? new FakeRequest()) =>
        Connection = broadcast.Connect(pump ?? broadcast.Pumps[0], home, Sink, Request, filter: filter);

    Listener(TestEngine broadcast, FakeRequest request)
    {
        (_broadcast, Request) = (broadcast, request);
        Sink = new ManualSink(frames => Problem ??= FrameParser.Read(frames.Span, (_, payload) => Got.Add(BitConverter.ToInt32(payload))));
    }

    public Connection Connection { get; private set; } = null!;

    public ManualSink Sink { get; }

    public FakeRequest Request { get; }

    public List<int> Got { get; } = [];

    public string? Problem { get; private set; }

    /// <summary>Connects to a node of a cluster, in which a join is asynchronous.</summary>
    public static async Task<Listener> ConnectAsync(TestEngine broadcast, string home = "/home", string? user = null, ManualPump? pump = null, Replay replay = default, SubscriptionFilter? filter = null)
    {
        var listener = new Listener(broadcast, new FakeRequest { UserId = user });
        listener.Connection = await broadcast.ConnectAsync(pump ?? broadcast.Pumps[0], home, listener.Sink, listener.Request, replay, filter);
        return listener;
    }

    public JoinResult Join(string group, Replay replay = default, SubscriptionFilter? filter = null) =>
        EngineExtensions.Join(Connection, group, replay, filter);

    public void Leave(string group) => Assert.True(Connection.Leave(group));

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
    /// Asserts that these messages arrived and that the server then closed the connection because the cluster lost
    /// messages.
    /// </summary>
    public void AssertLost(params int[] numbers)
    {
        AssertNoViolation();
        Assert.Equal(numbers, Got);
        Assert.Equal((CloseStatus.TryAgainLater, EndReason.ClusterLost), (Sink.Closed, Connection.EndReason));
    }
}
