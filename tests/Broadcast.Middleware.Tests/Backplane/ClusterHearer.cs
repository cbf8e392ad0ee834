using System.Security.Claims;
using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Backplane;

/// <summary>A connection of one node that records the IDs of its received messages.</summary>
sealed class ClusterHearer
{
    readonly Stage _stage;

    ClusterHearer(Stage stage)
    {
        _stage = stage;
        Sink = new HandSink(frames => Problem ??= Properties.Wire.Read(frames.Span, (_, payload) => Got.Add(BitConverter.ToInt32(payload))));
    }

    public Connection Connection { get; private set; } = null!;

    public HandSink Sink { get; }

    public FakeRequest Request { get; } = new();

    public List<int> Got { get; } = [];

    public string? Problem { get; private set; }

    public static async Task<ClusterHearer> ConnectAsync(Stage stage, string home = "/home", string? user = null, HandPump? pump = null, Replay replay = default)
    {
        var hearer = new ClusterHearer(stage);
        if (user is not null) hearer.Request.Context.User = new ClaimsPrincipal(new ClaimsIdentity([new Claim(ClaimTypes.NameIdentifier, user)], "Test"));
        hearer.Connection = await stage.ConnectAsync(pump ?? stage.Pumps[0], home, hearer.Sink, hearer.Request, replay);
        return hearer;
    }

    /// <summary>Does what the endpoint does when the request ends.</summary>
    public void Go()
    {
        _stage.Broadcaster.Remove(Connection);
        _ = Connection.Writer.DetachAsync();
        Connection.End();
    }

    public void AssertSound()
    {
        Assert.Null(Problem);
        Assert.Null(Sink.Violation);
    }

    /// <summary>Asserts that exactly these messages arrived in this order and that the connection is open.</summary>
    public void AssertGot(params int[] numbers)
    {
        AssertSound();
        Assert.Equal(numbers, Got);
        Assert.Null(Connection.Writer.ClosingStatus);
    }

    /// <summary>
    /// Asserts that these messages arrived and that the connection was then closed because of a loss.
    /// </summary>
    public void AssertLost(params int[] numbers)
    {
        AssertSound();
        Assert.Equal(numbers, Got);
        Assert.Equal((CloseStatus.TryAgainLater, EndReason.ClusterLost), (Sink.Closed, Connection.EndReason));
    }
}
