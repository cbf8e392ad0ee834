using System.Collections.Concurrent;
using System.Security.Claims;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Connections;

public sealed class RevalidationTests
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    // The maximum time between two heartbeats.
    static readonly TimeSpan Beat = TimeSpan.FromSeconds(5);

    readonly FakeTimeProvider _time = new();

    [Fact]
    public async Task Authentication_Expires_ClosesOnlyThatConnectionWithCode1008()
    {
        await using var app = await StartAsync();
        using var meters = new Meters(app);
        await using var expiring = await RawClient.OpenAsync(app, TestUsers.As("ann"), TestUsers.Until(_time.GetUtcNow() + Minute));
        await using var later = await RawClient.OpenAsync(app, TestUsers.As("bob"), TestUsers.Until(_time.GetUtcNow() + (3 * Minute)));
        await using var lasting = await RawClient.OpenAsync(app, TestUsers.As("cy"));
        await using var anonymous = await RawClient.OpenAsync(app);

        _time.Advance(Minute - TimeSpan.FromSeconds(1));
        await expiring.AssertOpenAsync();
        _time.Advance(TimeSpan.FromSeconds(1) + Beat);

        Assert.Equal(1008, await expiring.ClosedWithAsync());
        foreach (var client in new[] { later, lasting, anonymous }) await client.AssertOpenAsync();
        await Eventually.True(() => app.Registry.Count == 3);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["authentication_expired"]);
        _time.Advance(2 * Minute);
        Assert.Equal(1008, await later.ClosedWithAsync());
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task CloseOnAuthenticationExpiration_False_KeepsConnectionOpen()
    {
        await using var app = await StartAsync(options: options => options.CloseOnAuthenticationExpiration = false);
        await using var client = await RawClient.OpenAsync(app, TestUsers.As("ann"), TestUsers.Until(_time.GetUtcNow() + Minute));

        _time.Advance(TimeSpan.FromDays(1));

        await client.AssertOpenAsync();
    }

    [Fact]
    public async Task Revalidator_ReturnsFalse_ClosesOnlyThatConnectionWithCode1008()
    {
        var revalidator = new Revalidator { HoldsAnswers = true };
        await using var app = await StartAsync(revalidator);
        using var meters = new Meters(app);
        await using var client = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        await using var other = await RawClient.OpenAsync(app, TestUsers.As("bob"));

        for (var times = 1; times <= 3; times++)
        {
            _time.Advance(Minute - (2 * Beat));
            await client.AssertOpenAsync();
            Assert.Equal(times - 1, revalidator.TimesAsked("ann"));
            // The interval starts at the last answer of the revalidator. The next call is at most two heartbeats late.
            _time.Advance(4 * Beat);
            var expected = times;
            await Eventually.True(() => revalidator.TimesAsked("ann") == expected && revalidator.TimesAsked("bob") == expected);
            // The clock must not advance before the next call is scheduled.
            await revalidator.AnswerAsync(2);
        }

        revalidator.HoldsAnswers = false;
        revalidator.Answer = (connection, _) => new(connection.UserId != "ann");
        _time.Advance(Minute + Beat);
        Assert.Equal(1008, await client.ClosedWithAsync());
        await other.AssertOpenAsync();
        await Eventually.True(() => app.Registry.Count == 1);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["authentication_expired"]);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Revalidator_ReturnsTrueOnAuthenticationExpiration_KeepsConnectionOpen()
    {
        var revalidator = new Revalidator();
        await using var app = await StartAsync(revalidator, options => options.RevalidationInterval = Timeout.InfiniteTimeSpan);
        await using var client = await RawClient.OpenAsync(app, TestUsers.As("ann"), TestUsers.Until(_time.GetUtcNow() + Minute));
        await using var anonymous = await RawClient.OpenAsync(app);

        _time.Advance(Minute - TimeSpan.FromSeconds(1));
        await client.AssertOpenAsync();
        Assert.Equal(0, revalidator.Asked);
        _time.Advance(2 * Beat);
        await Eventually.True(() => revalidator.TimesAsked("ann") == 1);
        _time.Advance(TimeSpan.FromDays(1));

        await client.AssertOpenAsync();
        await anonymous.AssertOpenAsync();
        Assert.Equal(1, revalidator.Asked);
    }

    [Fact]
    public async Task Revalidator_Throws_ClosesOnlyThatConnectionWithCode1011()
    {
        var revalidator = new Revalidator { Answer = (connection, _) => connection.UserId == "ann" ? throw new InvalidOperationException("boom") : new(true) };
        await using var app = await StartAsync(revalidator);
        using var meters = new Meters(app);
        await using var client = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        await using var other = await RawClient.OpenAsync(app, TestUsers.As("bob"));

        _time.Advance(Minute + Beat);

        Assert.Equal(1011, await client.ClosedWithAsync());
        await other.AssertOpenAsync();
        await Eventually.True(() => app.Registry.Count == 1);
        var line = Assert.Single(app.Logs.GetSnapshot(), record => record.Level >= LogLevel.Error);
        Assert.Equal("boom", line.Exception!.Message);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["failed"]);
    }

    [Fact]
    public async Task Revalidator_Hangs_IsCalledOnceWithoutDelayingOtherConnections()
    {
        using var release = new ManualResetEventSlim();
        var revalidator = new Revalidator
        {
            HoldsAnswers = true,
            Answer = (connection, _) =>
            {
                // The revalidator also blocks its thread, not only its task.
                if (connection.UserId == "ann") release.Wait(CancellationToken.None);
                return new(true);
            },
        };
        await using var app = await StartAsync(revalidator);
        await using var blocked = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        await using var other = await RawClient.OpenAsync(app, TestUsers.As("bob"));

        try
        {
            for (var i = 1; i <= 3; i++)
            {
                _time.Advance(Minute + (2 * Beat));
                var times = i;
                await Eventually.True(() => revalidator.TimesAsked("bob") == times && revalidator.TimesAsked("ann") == 1);
                await revalidator.AnswerAsync(1);
                await app.Broadcaster.PublishAsync("hello", cancellationToken: TestContext.Current.CancellationToken);
                foreach (var client in new[] { blocked, other }) Assert.Equal("hello", (await client.ReadFrameAsync()).Text);
                await blocked.AssertOpenAsync();
            }
        }
        finally
        {
            release.Set();
        }
    }

    [Fact]
    public async Task Revalidator_AfterReconnect_ReceivesUserOfNewRequest()
    {
        var clock = new RecoveryClock();
        var roles = new ConcurrentQueue<string?>();
        var revalidator = new Revalidator
        {
            Answer = (connection, _) =>
            {
                roles.Enqueue(connection.User.FindFirstValue(ClaimTypes.Role));
                return new(true);
            },
        };
        await using var app = await BroadcastApp.StartReliableAsync(
            clock,
            options => options.RevalidationInterval = Minute,
            configure: builder => builder.Services.AddSingleton<IConnectionRevalidator>(revalidator));
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann"), TestUsers.In("guest")]);
        client.Disconnect();
        await clock.WaitsAsync();
        await using var transport = await ReliableClient.AskAsync(
            app, client.Id, client.Token, headers: [TestUsers.As("ann"), TestUsers.In("admin")]);
        await using var returned = await client.ReconnectAsync(transport);
        await returned.Transport.JoinedAsync();

        clock.Advance(Minute + Beat);

        await Eventually.True(() => !roles.IsEmpty);
        Assert.Equal(["admin"], roles);
    }

    Task<BroadcastApp> StartAsync(Revalidator? revalidator = null, Action<BroadcastOptions>? options = null) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddSingleton<TimeProvider>(_time);
            if (revalidator is not null) builder.Services.AddSingleton<IConnectionRevalidator>(revalidator);
        },
        options: all =>
        {
            (all.KeepAliveInterval, all.RevalidationInterval) = (Timeout.InfiniteTimeSpan, Minute);
            options?.Invoke(all);
        });
}
