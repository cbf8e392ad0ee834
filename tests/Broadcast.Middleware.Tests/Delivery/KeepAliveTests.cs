using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Delivery;

public sealed class KeepAliveTests : IDisposable
{
    readonly FakeTimeProvider _time = new();
    readonly BroadcastOptions _options = new() { KeepAliveInterval = TimeSpan.FromSeconds(10), KeepAliveTimeout = TimeSpan.FromSeconds(20) };
    Heartbeat? _heartbeat;
    KeepAlive _keepAlive;
    int _received = 1;

    Heartbeat Heartbeat => _heartbeat ??= new(new GroupDirectory(new SequenceClock(), new GroupRules(_options), 0, _time), _options.RevalidationInterval, new EndpointSettings(_options), _time);

    public void Dispose() => _heartbeat?.Dispose();

    [Fact]
    public void SilentPeer_WithoutPong_CountsAsDisconnected()
    {
        Assert.False(LostAfter(0));
        Assert.False(LostAfter(9.9));
        Assert.False(_keepAlive.TakePing());
        Assert.False(LostAfter(0.1));
        Assert.True(_keepAlive.TakePing());
        Assert.False(_keepAlive.TakePing());
        Assert.False(LostAfter(19.9));
        Assert.True(LostAfter(0.1));
    }

    [Fact]
    public void Peer_AnswersInTime_RestartsIdleTime()
    {
        LostAfter(0);
        Assert.False(LostAfter(10));
        _received++;
        Assert.False(LostAfter(19));
        Assert.False(LostAfter(9.9));
        Assert.False(LostAfter(0.1));
        Assert.False(LostAfter(19.9));
        Assert.True(LostAfter(0.1));
    }

    [Fact]
    public void Peer_ThatSendsMessages_IsNeverPinged()
    {
        LostAfter(0);
        for (var i = 0; i < 50; i++)
        {
            _received++;
            Assert.False(LostAfter(100));
            Assert.False(_keepAlive.TakePing());
        }
    }

    [Fact]
    public void KeepAlive_ReceiverIsBusy_DoesNotTimeOut()
    {
        LostAfter(0);
        LostAfter(10);
        for (var i = 0; i < 50; i++) Assert.False(LostAfter(100, isBusy: true));
        Assert.False(LostAfter(9.9));
        Assert.False(LostAfter(0.1));
        Assert.True(LostAfter(20));
    }

    [Fact]
    public void KeepAlive_SinkWithoutPings_NeverTimesOut()
    {
        for (var i = 0; i < 50; i++)
        {
            _time.Advance(TimeSpan.FromSeconds(100));
            Assert.False(IsLost(null, isSilenceAllowed: false));
            Assert.False(_keepAlive.TakePing());
        }
    }

    [Fact]
    public void KeepAlive_WithoutInterval_NeverPings()
    {
        _options.KeepAliveInterval = Timeout.InfiniteTimeSpan;
        for (var i = 0; i < 50; i++) Assert.False(LostAfter(10_000));
        Assert.False(_keepAlive.TakePing());
    }

    [Fact]
    public void KeepAlive_WithoutTimeout_NeverDisconnectsPeer()
    {
        _options.KeepAliveTimeout = Timeout.InfiniteTimeSpan;
        for (var i = 0; i < 50; i++) Assert.False(LostAfter(10_000));
        Assert.True(_keepAlive.TakePing());
    }

    [Fact]
    public void HeartbeatMessage_SomeBeatsMissed_IsDueOncePerInterval()
    {
        const int Interval = 4, FirstBeat = 3, LastBeat = 4_003, Offset = 'k';
        var random = new Random(1);
        var messages = 0;
        for (var beat = FirstBeat; beat <= LastBeat; beat = beat == LastBeat ? beat + 1 : Math.Min(beat + random.Next(1, Interval + 1), LastBeat))
        {
            _keepAlive.CheckMessage(beat, Interval, Offset);
            _keepAlive.IsPeerLost(beat, 0, new EndpointSettings(_options), null, isSilenceAllowed: false);
            if (_keepAlive.TakeMessage()) messages++;
        }

        Assert.Equal((LastBeat - FirstBeat) / Interval, messages);
    }

    [Theory]
    [InlineData(15, 20, 3.75)]
    [InlineData(1, 1, 0.25)]
    [InlineData(60, 8, 2)]
    [InlineData(-0.001, -0.001, 5)]
    [InlineData(3600, 3600, 5)]
    public void HeartbeatPeriod_AnyTimeouts_IsQuarterOfShortestTimeWithinBounds(double interval, double timeout, double beat)
    {
        (_options.KeepAliveInterval, _options.KeepAliveTimeout) = (TimeSpan.FromSeconds(interval), TimeSpan.FromSeconds(timeout));
        _options.SendTimeout = Timeout.InfiniteTimeSpan;
        Assert.Equal(0, Heartbeat.Beat);
        _time.Advance(TimeSpan.FromSeconds(beat) - TimeSpan.FromMilliseconds(1));
        Assert.Equal(0, Heartbeat.Beat);
        _time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.Equal(1, Heartbeat.Beat);
        Heartbeat.Dispose();
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(1, Heartbeat.Beat);
    }

    bool LostAfter(double seconds, bool isBusy = false)
    {
        // The first check happens at the first heartbeat and starts the idle time.
        if (Heartbeat.Beat == 0) _time.Advance(TimeSpan.FromSeconds(10));
        _time.Advance(TimeSpan.FromSeconds(seconds));
        return IsLost(_received, isBusy);
    }

    bool IsLost(int? received, bool isSilenceAllowed) =>
        _keepAlive.IsPeerLost(Heartbeat.Beat, Heartbeat.Now, new EndpointSettings(_options), received, isSilenceAllowed);
}
