using System.Net;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.HttpOverrides;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests that a client gains nothing by reconnecting: its limits and checks continue.</summary>
public sealed class RecoveryCarryOverTests
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    readonly RecoveryClock _clock = new();

    [Fact]
    public async Task Revalidator_ClientReconnectsMoreOftenThanInterval_IsStillCalled()
    {
        var revalidator = new Revalidator { Answer = static (_, _) => new(false) };
        await using var app = await StartAsync(revalidator);
        var client = await ReliableClient.OpenAsync(app);
        for (var reconnects = 1; reconnects <= 2; reconnects++)
        {
            _clock.Advance(TimeSpan.FromSeconds(25));
            client = await ReconnectAsync(app, client, reconnects);
        }

        Assert.Equal(0, revalidator.Asked);
        // Now the client has been connected for 65 seconds, but its last reconnect was 15 seconds ago.
        _clock.Advance(TimeSpan.FromSeconds(15));

        Assert.Equal(1008, await client.Transport.ClosedWithAsync());
        Assert.Equal(1, revalidator.Asked);
        await client.DisposeAsync();
    }

    [Fact]
    public async Task Revalidator_ClientReconnectsDuringCall_AnswerStillCounts()
    {
        var answer = new TaskCompletionSource<bool>();
        var revalidator = new Revalidator { Answer = (_, token) => new(answer.Task.WaitAsync(token)) };
        await using var app = await StartAsync(revalidator);
        await using var client = await ReliableClient.OpenAsync(app);
        _clock.Advance(Minute + TimeSpan.FromSeconds(5));
        await Eventually.True(() => revalidator.Asked == 1);

        await using var returned = await ReconnectAsync(app, client);
        answer.SetResult(false);

        Assert.Equal(1008, await returned.Transport.ClosedWithAsync());
        Assert.Equal(1, revalidator.Asked);
    }

    [Fact]
    public async Task AuthenticationExpiration_NewRequestExpiresLater_LaterTimeCounts()
    {
        await using var app = await StartAsync();
        var (soon, later) = (TestUsers.Until(_clock.GetUtcNow() + Minute), TestUsers.Until(_clock.GetUtcNow() + (2 * Minute)));
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann"), soon]);
        client.Disconnect();
        await _clock.WaitsAsync();
        await using var transport = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("ann"), later]);
        await using var returned = await client.ReconnectAsync(transport);

        _clock.Advance(Minute + TimeSpan.FromSeconds(5));
        await returned.Transport.IsThereAsync();
        _clock.Advance(Minute);

        Assert.Equal(1008, await returned.Transport.ClosedWithAsync());
    }

    [Fact]
    public async Task RateLimit_ClientReconnects_KeepsUsedBurst()
    {
        const int Burst = 30;
        const string Ping = """{"type":"ping"}""";
        await using var app = await BroadcastApp.StartReliableAsync(
            _clock, options => (options.MaxMessagesPerSecond, options.MaxMessageBurst) = (1, Burst));
        await using var client = await ReliableClient.OpenAsync(app);
        await client.SayAsync([.. Enumerable.Repeat(Ping, Burst)]);
        for (var i = 0; i < Burst; i++) Assert.Equal("""{"type":"pong"}""", await JsonClient.ReadAsync(client.Transport));
        await using var returned = await ReconnectAsync(app, client);

        await returned.SayAsync([.. Enumerable.Repeat(Ping, Burst)]);

        Assert.Equal(1008, (await returned.Transport.ReadCloseAsync()).CloseCode);
    }

    Task<BroadcastApp> StartAsync(Revalidator? revalidator = null) => BroadcastApp.StartReliableAsync(
        _clock,
        options => options.RevalidationInterval = Minute,
        configure: builder =>
        {
            if (revalidator is not null) builder.Services.AddSingleton<IConnectionRevalidator>(revalidator);
        });

    /// <summary>Disconnects the client and reconnects it after the server has noticed.</summary>
    /// <param name="app">The app.</param>
    /// <param name="client">The client.</param>
    /// <param name="reconnects">The number of reconnects of this test, including this one.</param>
    async Task<ReliableClient> ReconnectAsync(BroadcastApp app, ReliableClient client, int reconnects = 1)
    {
        client.Disconnect();
        await _clock.WaitsAsync(reconnects);
        return await client.ReconnectAsync(app);
    }
}
