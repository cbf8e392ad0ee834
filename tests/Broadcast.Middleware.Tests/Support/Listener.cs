
namespace Broadcast.Middleware.Tests.Support;

/// <summary>A connection that records the IDs of its received messages.</summary>
sealed class Listener
{
    readonly TestEngine _broadcast;

    public Listener(TestEngine broadcast, string home = "/home", ManualPump? pump = null, FakeRequest? request = null)
    {
        _broadcast = broadcast;
        Sink = new ManualSink(frames => Problem ??= FrameParser.Read(frames.Span, (_, payload) => Got.Add(BitConverter.ToInt32(payload))));
        Connection = broadcast.Connect(pump ?? broadcast.Pumps[0], home, Sink, request);
    }

    public Connection Connection { get; }

    public ManualSink Sink { get; }

    public List<int> Got { get; } = [];

    public string? Problem { get; private set; }

    public JoinResult Join(string group, Replay replay = default) => EngineExtensions.Join(Connection, group, replay);

    public void Leave(string group) => Assert.True(Connection.Leave(group));

    /// <summary>Does what the endpoint does when the request ends.</summary>
    public void Disconnect()
    {
        _broadcast.Remove(Connection);
        _ = Connection.Writer.DetachAsync();
    }

    public void AssertNoViolation()
    {
        Assert.Null(Problem);
        Assert.Null(Sink.Violation);
    }
}
