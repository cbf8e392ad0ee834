using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>A real broadcast whose pumps and clock the test drives.</summary>
sealed class ManualBroadcast : IDisposable
{
    readonly FakeTimeProvider _time = new();

    public ManualBroadcast(int pumps = 1, int maxBacklog = 1 << 20, IConnectionRegistry? registry = null, Action<BroadcastOptions>? configure = null, IBackplane? backplane = null)
    {
        Pumps = [.. Enumerable.Range(0, pumps).Select(_ => new ManualPump())];
        var options = new BroadcastOptions { MaxBacklogBytes = maxBacklog, CloseTimeout = TimeSpan.FromHours(1) };
        configure?.Invoke(options);
        Broadcaster = TestEngine.CreateBroadcaster(options, registry ?? new ConnectionRegistry(), _time, backplane);
    }

    public ManualPump[] Pumps { get; }

    public FakeTimeProvider Time => _time;

    public TestBroadcaster Broadcaster { get; }

    /// <summary>Admits a connection on a pump that the test chooses.</summary>
    public Connection Admit(ManualPump pump, string homeGroup, FakeRequest? request = null, ProtocolDescriptor? protocol = null) =>
        Broadcaster.Admit(request ?? new FakeRequest(), homeGroup, protocol, pump.Pump);

    public Connection Connect(
        ManualPump pump, string homeGroup, Sink sink, FakeRequest? request = null, ProtocolDescriptor? protocol = null)
    {
        var connection = Admit(pump, homeGroup, request, protocol);
        connection.Writer.Open(sink);
        Assert.True(Broadcaster.AttachAsync(connection).AsTask().IsCompletedSuccessfully);
        return connection;
    }

    /// <summary>Connects to a node of a cluster, where joining takes time.</summary>
    public async Task<Connection> ConnectAsync(
        ManualPump pump, string homeGroup, Sink sink, FakeRequest? request = null, Replay replay = default)
    {
        var connection = Admit(pump, homeGroup, request);
        connection.Writer.Open(sink);
        await Broadcaster.AttachAsync(connection, replay);
        return connection;
    }

    public void Beat() => _time.Advance(TimeSpan.FromSeconds(3.75));

    public void RunUntilIdle()
    {
        while (Array.Exists(Pumps, pump => pump.IsScheduled))
        {
            foreach (var pump in Pumps) pump.RunUntilIdle();
        }
    }

    public void Dispose() => Broadcaster.Dispose();
}
