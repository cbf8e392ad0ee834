using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests clients that reconnect at the same time, and clients that reconnect while a filter still runs.</summary>
public sealed class RecoveryRaceTests
{
    const string End = "end";

    readonly RecoveryClock _clock = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(2, true)]
    [InlineData(10, true)]
    [InlineData(2, false)]
    [InlineData(10, false)]
    public async Task Reconnect_SeveralClientsAtOnce_OneClientGetsAllMessages(int count, bool isDisconnected)
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        await using var stranger = await ReliableClient.OpenAsync(app);
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishToAsync(Recipients.Connection(stranger.Id), "not for you");
        await app.PublishToAsync(Recipients.Connection(client.Id), "0", "1");
        await client.ReceivesAsync("0", "1");
        if (isDisconnected)
        {
            client.Disconnect();
            await _clock.WaitsAsync();
        }

        var readings = Enumerable.Range(0, count).Select(_ => Task.Run(ReadAsync, Token)).ToArray();
        var published = 2;
        await Eventually.True(() =>
        {
            Publish((published++).ToString(CultureInfo.InvariantCulture));
            return readings.Count(reading => reading.IsCompleted) == count - 1;
        });
        Publish(End);

        var winner = Assert.Single(await Task.WhenAll(readings), heard => heard.HasAll);
        Assert.Equal(published, winner.Messages);
        Assert.Equal(2, app.Registry.Count);
        // The server accepts only the token of the client that reconnected.
        await using var again = await client.ReconnectAsync(app, winner.Token);
        for (var i = 0; i < published; i++) await again.ReceivesAsync(i.ToString(CultureInfo.InvariantCulture));
        await again.ReceivesAsync(End);
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
        await stranger.ReceivesAsync("not for you");
        await JsonClient.ReceivesNothingElseAsync(stranger.Transport);
        LogAssert.NoErrors(app);

        void Publish(string text) => app.Broadcaster.PublishAsync(Message.FromText(text), Recipients.Connection(client.Id), Token).AsTask().GetAwaiter().GetResult();

        // Reads all messages in order until the server refuses or disconnects the client, or until the last message.
        async Task<(bool HasAll, int Messages, string? Token)> ReadAsync()
        {
            var (messages, token) = (0, default(string));
            try
            {
                // The server may disconnect this client before it answers the handshake.
                await using var transport = await ReliableClient.AskAsync(app, client.Id, client.Token);
                while (true)
                {
                    var frame = await transport.ReadFrameAsync();
                    if (frame.Opcode == ClientFrame.Close)
                    {
                        Assert.Equal((1008, 0, null), (frame.CloseCode, messages, token));
                        return default;
                    }

                    if (token is null)
                    {
                        using var connected = JsonDocument.Parse(frame.Text);
                        Assert.Equal(client.Id, connected.RootElement.GetProperty("connectionId").GetString());
                        token = connected.RootElement.GetProperty("reconnectionToken").GetString();
                        continue;
                    }

                    var message = ReliableMessage.Parse(frame.Text);
                    if (message.Data == End) return (true, messages, token);
                    Assert.Equal((messages++).ToString(CultureInfo.InvariantCulture), message.Data);
                }
            }
            catch (TransportEndedException)
            {
                return default;
            }
        }
    }

    [Fact]
    public async Task Reconnect_FilterStillRuns_WaitsForFilter()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SendTextAsync("""{"type":"sendToGroup","group":"/ws","ackId":1,"data":1}""");
        await filter.Entered;
        client.Disconnect();
        await using var transport = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync();

        filter.Release();

        await using var again = await client.ReconnectAsync(transport);
        // The client published this message on the old transport. The answer is lost, so the client repeats the request.
        await again.ReceivesAsync("1");
        await again.SendTextAsync("""{"type":"sendToGroup","group":"/ws","ackId":1,"data":1}""");
        await JsonClient.FailsAsync(again.Transport, 1, "Duplicate");
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
    }

    [Fact]
    public async Task Reconnect_FilterNeverEnds_IsRefusedAfterRecoveryTimeout()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SendTextAsync("""{"type":"sendToGroup","group":"/ws","data":1}""");
        await filter.Entered;
        await using var transport = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync();

        _clock.Expire();

        await ReliableClient.IsRefusedAsync(transport);
        // The connection still exists, and a later reconnect succeeds.
        Assert.Equal(1, app.Registry.Count);
        await using var late = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync(2);
        filter.Release();
        await using var again = await client.ReconnectAsync(late);
        await again.ReceivesAsync("1");
    }

    [Fact]
    public async Task Reconnect_FilterObservesAbort_CancelsFilter()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.UntilAborted);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SendTextAsync("""{"type":"sendToGroup","group":"/ws","data":1}""");
        await filter.Entered;

        await using var again = await client.ReconnectAsync(app);

        await JsonClient.ReceivesNothingElseAsync(again.Transport);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Reconnect_TwoClientsWaitForFilter_LaterClientWins()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SendTextAsync("""{"type":"sendToGroup","group":"/ws","data":1}""");
        await filter.Entered;
        await using var first = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync();
        await using var second = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);

        await ReliableClient.IsRefusedAsync(first);
        filter.Release();
        await using var again = await client.ReconnectAsync(second);

        await again.ReceivesAsync("1");
    }

    [Fact]
    public async Task Reconnect_ConnectionClosesDuringWait_IsRefused()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SendTextAsync("""{"type":"sendToGroup","group":"/ws","data":1}""");
        await filter.Entered;
        await using var transport = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync();

        await app.Broadcaster.CloseAsync(client.Id, cancellationToken: Token);
        filter.Release();

        await ReliableClient.IsRefusedAsync(transport);
        await app.IsEmptyAsync();
    }

    [Fact]
    public async Task Reconnect_ClientDisconnectsDuringWait_SessionWaitsAgain()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await client.SendTextAsync("""{"type":"sendToGroup","group":"/ws","data":1}""");
        await filter.Entered;
        await using var gone = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        await _clock.WaitsAsync();
        gone.Reset();
        filter.Release();
        await _clock.WaitsAsync(2);

        await using var again = await client.ReconnectAsync(app);

        await again.ReceivesAsync("1");
    }

    [Fact]
    public async Task Reconnect_DisconnectFilterStillRuns_IsRefusedWithoutWaiting()
    {
        using var filter = new BlockingFilter(Stage.Disconnect, Blocking.Task);
        await using var app = await StartAsync(filter, options => options.MaxUnacknowledgedMessages = 1);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("it")]);
        await app.PublishAsync("1", "2", "3");
        await client.ReceivesAsync("1", "2", "3");

        // The blocked disconnect filter keeps the request and its socket open, so read only the close frame.
        await using var transport = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("it")]);
        Assert.Equal((1008, ReliableClient.Refused), await ReadCloseAsync(transport));
        await filter.Entered;

        static async Task<(int?, string)> ReadCloseAsync(RawClient transport)
        {
            var close = await transport.ReadFrameAsync();
            return (close.CloseCode, close.CloseReason);
        }
    }

    [Fact]
    public async Task Abort_OldRequestHasEnded_DoesNotThrow()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock, configure: BroadcastApp.KeepRequestsOpen);
        await using var client = await ReliableClient.OpenAsync(app);
        var connection = client.ConnectionOf(app);
        var context = connection.HttpContext;
        client.Disconnect();
        await _clock.WaitsAsync();

        // First, a reconnect claims the session. The old request ends only after the new request has replaced the old request.
        Assert.NotNull(await connection.Session!.ClaimAsync(client.Token!));
        Assert.False(HasEnded(context));
        connection.Session.OnTakenOver("token");
        await Eventually.True(() => HasEnded(context));

        connection.AbortNow();

        static bool HasEnded(HttpContext context)
        {
            try
            {
                _ = context.RequestAborted;
                return false;
            }
            catch (ObjectDisposedException)
            {
                return true;
            }
        }
    }

    [Fact]
    public async Task Reconnect_MeterListenerThrows_ClientReceivesNextMessage()
    {
        await using var app = await BroadcastApp.StartReliableAsync(_clock);
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, listener) =>
            {
                if (instrument.Name == "broadcast.connections.recovered" && instrument.Meter.Scope == app.Services.GetRequiredService<IMeterFactory>())
                    listener.EnableMeasurementEvents(instrument);
            },
        };
        listener.SetMeasurementEventCallback<long>(static (_, _, _, _) => throw new InvalidOperationException("boom"));
        listener.Start();
        await using var client = await ReliableClient.OpenAsync(app);
        client.Disconnect();
        await _clock.WaitsAsync();

        await using var again = await client.ReconnectAsync(app);

        await app.PublishToAsync(Recipients.Connection(client.Id), "1");
        await again.ReceivesAsync("1");
        LogAssert.NoErrors(app);
    }

    Task<BroadcastApp> StartAsync(BlockingFilter filter, Action<BroadcastOptions>? options = null) => BroadcastApp.StartReliableAsync(
        _clock, options, app => app.MapBroadcast("/ws").Use<BlockingFilter>(), builder => builder.Services.AddSingleton(filter));
}
