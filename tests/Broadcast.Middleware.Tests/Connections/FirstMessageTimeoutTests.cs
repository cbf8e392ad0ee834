using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Connections;

public sealed class FirstMessageTimeoutTests
{
    [Fact]
    public async Task FirstMessageTimeout_SilentClient_ClosesWithCode1008()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(time, TimeSpan.FromSeconds(10));
        using var meters = new Meters(app);
        await using var speaking = await RawClient.OpenAsync(app);
        await using var silent = await RawClient.OpenAsync(app);
        await speaking.SendAsync(ClientFrame.CreateText("hello"));
        Assert.Equal("hello", (await speaking.ReadFrameAsync()).Text);

        time.Advance(TimeSpan.FromSeconds(9));
        await speaking.AssertOpenAsync();
        Assert.Equal("hello", (await silent.ReadFrameAsync()).Text);
        await silent.AssertOpenAsync();
        time.Advance(TimeSpan.FromSeconds(3));

        Assert.Equal(1008, await silent.ClosedWithAsync());
        await speaking.AssertOpenAsync();
        await Eventually.True(() => app.Registry.Count == 1);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["first_message_timeout"]);
    }

    [Fact]
    public async Task FirstMessageTimeout_PingOrPartialMessage_DoesNotStopTimeout()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(time, TimeSpan.FromSeconds(10));
        await using var client = await RawClient.OpenAsync(app);
        await client.SendAsync(ClientFrame.Make(ClientFrame.Text, "hal"u8, fin: false));
        await client.AssertOpenAsync();

        time.Advance(TimeSpan.FromSeconds(13));

        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    /// <summary>Invalid messages must not keep an unauthenticated client connected.</summary>
    [Fact]
    public async Task FirstMessageTimeout_FilterWaitsForAnotherMessage_ClosesWithCode1008()
    {
        var time = new FakeTimeProvider();
        var junk = new TaskCompletionSource();
        await using var app = await StartAsync(time, TimeSpan.FromSeconds(10), app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
        {
            while (await context.ReceiveAsync() is { } message)
            {
                if (message.ToString() == "token")
                {
                    await next(context);
                    return;
                }

                junk.SetResult();
            }
        }));
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync();
        await client.SendAsync(ClientFrame.CreateText("junk"));
        await junk.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
        var connection = (Connection)Assert.Single(app.Registry.Connections);
        await Eventually.True(() => connection.ReceiveGate.State == ReceiveState.Reading && app.Inside().Heartbeat.JoiningWriters == 1);

        time.Advance(TimeSpan.FromSeconds(13));

        Assert.Equal(1008, await client.ClosedWithAsync());
        Assert.Equal(EndReason.FirstMessageTimeout, connection.EndReason);
    }

    /// <summary>
    /// The client of an event stream cannot send a message. So the timeout does not apply to event streams.
    /// </summary>
    [Theory]
    [InlineData("before the join")]
    [InlineData("after the join")]
    public async Task FirstMessageTimeout_ConnectFilterOfEventStreamIsSlow_StreamStaysOpen(string wait)
    {
        var time = new FakeTimeProvider();
        var released = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var app = await StartAsync(time, TimeSpan.FromSeconds(10), app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
        {
            if (wait == "before the join") await released.Task;
            await next(context);
            await released.Task;
        }));
        var opening = EventClient.AskAsync(app, headers: ("Accept", "text/event-stream"));
        await Eventually.True(() => app.Inside().Heartbeat.JoiningWriters == 1);
        var connection = (Connection)Assert.Single(app.Registry.Connections);

        time.Advance(TimeSpan.FromSeconds(13));
        await PumpBarrier.PassAsync(connection.Writer.Pump);
        released.SetResult();

        await using var client = await opening;
        await Eventually.True(() => connection.ReceiveGate.State == ReceiveState.Reading);
        Assert.Null(connection.Writer.ClosingStatus);
        await app.PublishAsync("hello");
        Assert.Equal(["hello"], await client.ReceiveTextAsync(1));
    }

    /// <summary>The fake clock does not advance. So the test fails if the server waits for a timeout.</summary>
    [Theory]
    [InlineData("an invalid text", 1007)]
    [InlineData("a reserved opcode", 1002)]
    [InlineData("a close frame without a code", 1000)]
    public async Task ReceiveAsync_ErrorOrCloseFrameDuringConnectFilter_ReturnsNullAndCloses(string end, int code)
    {
        var results = new TaskCompletionSource<(Message?, Message?)>();
        await using var app = await StartAsync(new FakeTimeProvider(), Timeout.InfiniteTimeSpan, app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
            results.SetResult((await context.ReceiveAsync(), await context.ReceiveAsync()))));
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync();

        await client.SendAsync(end switch
        {
            "an invalid text" => ClientFrame.Make(ClientFrame.Text, [0xFF]),
            "a reserved opcode" => ClientFrame.Make(3, []),
            _ => ClientFrame.Make(ClientFrame.Close, []),
        });

        Assert.Equal((null, null), await results.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken));
        Assert.Equal(code, await client.ClosedWithAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    [Fact]
    public async Task FirstMessageTimeout_Infinite_AllowsSilentClient()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(time, Timeout.InfiniteTimeSpan);
        await using var client = await RawClient.OpenAsync(app);

        time.Advance(TimeSpan.FromDays(2));

        await client.AssertOpenAsync();
    }

    static Task<BroadcastApp> StartAsync(FakeTimeProvider time, TimeSpan timeout, Action<WebApplication>? map = null) => BroadcastApp.StartAsync(
        builder => builder.Services.AddSingleton<TimeProvider>(time),
        map,
        options: options => (options.FirstMessageTimeout, options.KeepAliveInterval) = (timeout, Timeout.InfiniteTimeSpan));
}
