using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Delivery;

public sealed class HeartbeatMessageTests
{
    const string Text = "heartbeat 15";

    static readonly TimeSpan Interval = TimeSpan.FromSeconds(15);

    readonly FakeTimeProvider _time = new();

    [Fact]
    public async Task HeartbeatMessage_RawWebSocket_IsSentAsTextEveryInterval()
    {
        await using var app = await StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await BeginAsync(app);
        for (var i = 0; i < 5; i++)
        {
            _time.Advance(Interval);
            Assert.Equal(Text, (await client.ReadFrameAsync()).Text);
        }
    }

    [Fact]
    public async Task HeartbeatMessage_EventStream_IsSentAsNamedEventEveryInterval()
    {
        await using var app = await StartAsync();
        await using var client = await EventClient.OpenAsync(app);
        var id = await client.ReadIdAsync();

        await BeginAsync(app);
        for (var i = 0; i < 5; i++)
        {
            _time.Advance(Interval);
            var next = await client.NextAsync();
            Assert.Equal(("heartbeat", Text, id, false), (next.Type, next.Data, next.Id, next.HasOwnId));
        }
    }

    [Fact]
    public async Task HeartbeatMessage_ManyIntervals_IsInNoHistoryAndNotSentToSubprotocols()
    {
        await using var app = await StartAsync(options => options.Groups["/ws"] = new() { HistoryMessages = 100, ReplayOnJoin = 100 });
        using var meters = new Meters(app);
        await using var client = await RawClient.OpenAsync(app);
        await using var json = await JsonClient.OpenAsync(app);
        await using var reliable = await ReliableClient.OpenAsync(app);

        await BeginAsync(app);
        for (var i = 0; i < 5; i++)
        {
            _time.Advance(Interval);
            Assert.Equal(Text, (await client.ReadFrameAsync()).Text);
            await app.SettleAsync();
        }

        await JsonClient.ReceivesNothingElseAsync(json);
        await JsonClient.ReceivesNothingElseAsync(reliable.Transport);
        await using var late = await RawClient.OpenAsync(app);
        Assert.Equal(0, meters.Sum("broadcast.messages.published"));
    }

    [Fact]
    public async Task HeartbeatMessage_NotSet_SendsNothing()
    {
        await using var app = await StartAsync(options => options.HeartbeatMessage = null);
        await using var client = await RawClient.OpenAsync(app);

        for (var i = 0; i < 5; i++)
        {
            _time.Advance(Interval);
            await app.SettleAsync();
        }

        await client.AssertOpenAsync();
    }

    [Theory]
    [InlineData("")]
    [InlineData("a\nb")]
    public void Validation_EmptyOrMultilineHeartbeatMessage_ReportsProblem(string text)
    {
        var result = new BroadcastOptionsValidator().Validate("", new BroadcastOptions { HeartbeatMessage = text });

        Assert.Contains(nameof(BroadcastOptions.HeartbeatMessage), result.FailureMessage, StringComparison.Ordinal);
    }

    /// <summary>
    /// Advances the clock by one interval and waits until each connection has processed the heartbeat. The first
    /// heartbeat message comes at most one interval later.
    /// </summary>
    async Task BeginAsync(BroadcastApp app)
    {
        _time.Advance(Interval);
        await app.SettleAsync();
    }

    Task<BroadcastApp> StartAsync(Action<BroadcastOptions>? options = null) => BroadcastApp.StartAsync(
        builder => builder.Services.AddSingleton<TimeProvider>(_time),
        options: all =>
        {
            (all.KeepAliveInterval, all.HeartbeatMessage, all.HeartbeatInterval) = (Timeout.InfiniteTimeSpan, Text, Interval);
            options?.Invoke(all);
        });
}
