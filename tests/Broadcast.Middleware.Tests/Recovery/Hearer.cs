using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>A connection that records the IDs of its received messages.</summary>
sealed class Hearer
{
    readonly Stage _stage;

    public Hearer(Stage stage, string home = "/home", HandPump? pump = null, FakeRequest? request = null)
    {
        _stage = stage;
        Sink = new HandSink(frames => Problem ??= Properties.Wire.Read(frames.Span, (_, payload) => Got.Add(BitConverter.ToInt32(payload))));
        Connection = stage.Connect(pump ?? stage.Pumps[0], home, Sink, request);
    }

    public Connection Connection { get; }

    public HandSink Sink { get; }

    public List<int> Got { get; } = [];

    public string? Problem { get; private set; }

    public JoinResult Join(string group, Replay replay = default) => Connection.Join(group, replay);

    public void Leave(string group) => Assert.True(Connection.Leave(group));

    /// <summary>Does what the endpoint does when the request ends.</summary>
    public void Go()
    {
        _stage.Broadcaster.Remove(Connection);
        _ = Connection.Writer.DetachAsync();
    }

    public void AssertSound()
    {
        Assert.Null(Problem);
        Assert.Null(Sink.Violation);
    }
}
