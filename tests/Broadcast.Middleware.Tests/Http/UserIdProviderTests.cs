using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Http;

public sealed class UserIdProviderTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task UserIdProvider_Registered_ReplacesClaimForRecipientsAndLimits()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddSingleton<IUserIdProvider>(new ByHeader());
            },
            options: options => options.MaxConnectionsPerUser = 2);
        await using var socket = await RawClient.OpenAsync(app, ("X-Id", "42"), TestUsers.As("claimed"));
        await using var events = await EventClient.OpenAsync(app, headers: [("X-Id", "42"), TestUsers.As("claimed")]);
        await using var anonymous = await RawClient.OpenAsync(app, TestUsers.As("claimed"));
        await using var anonymousToo = await RawClient.OpenAsync(app, TestUsers.As("claimed"));
        await using var third = await RawClient.OpenAsync(app, TestUsers.As("claimed"));

        Assert.Equal(429, (await RawClient.TryAsync(app, ("X-Id", "42"))).Status);
        await using var refused = await EventClient.AskAsync(app, headers: [("Accept", "text/event-stream"), ("X-Id", "42")]);
        Assert.Equal(429, refused.Status);
        Assert.Equal(2, app.Registry.GetUserConnections("42").Count());
        Assert.Empty(app.Registry.GetUserConnections("claimed"));
        Assert.Equal(2, (await app.Broadcaster.PublishAsync("for 42", Recipients.User("42"), cancellationToken: Token)).LocalRecipients);
        Assert.Equal("for 42", (await socket.ReadFrameAsync()).Text);
        Assert.Equal(["for 42"], await events.ReceiveTextAsync(1));
        Assert.Equal(0, (await app.Broadcaster.PublishAsync("x", Recipients.User("claimed"), cancellationToken: Token)).LocalRecipients);
    }

    [Fact]
    public async Task NamedBroadcast_KeyedUserIdProvider_IsUsed()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddBroadcast("chat");
                builder.Services.AddKeyedSingleton<IUserIdProvider>("chat", new ByHeader());
            },
            map =>
            {
                map.MapBroadcast("/ws");
                map.MapBroadcast("/chat", "chat");
            });
        await using var one = await RawClient.OpenAsync(app, ("X-Id", "42"), TestUsers.As("claimed"));
        await using var two = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await two.HandshakeAsync("/chat", ("X-Id", "42"), TestUsers.As("claimed"))).Status);
        await two.JoinedAsync();

        Assert.Equal("claimed", Assert.Single(app.Registry.Connections).UserId);
        Assert.Equal("42", Assert.Single(app.Services.GetRequiredKeyedService<IConnectionRegistry>("chat").Connections).UserId);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task UserIdProvider_Throws_RefusesOnlyThatRequestWithStatus500(bool wantsEvents)
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddSingleton<IUserIdProvider>(new ByHeader()),
            options: options => (options.MaxConnections, options.MaxConnectionsPerUser, options.MaxConnectionsPerAddress) = (2, 1, 2));
        using var meters = new Meters(app);
        await using var good = await RawClient.OpenAsync(app, ("X-Id", "good"));

        for (var i = 0; i < 5; i++)
        {
            if (wantsEvents)
            {
                await using var client = await EventClient.AskAsync(app, headers: [("Accept", "text/event-stream"), ("X-Id", "bad")]);
                Assert.Equal(500, client.Status);
            }
            else
            {
                Assert.Equal(500, (await RawClient.TryAsync(app, ("X-Id", "bad"))).Status);
            }

            await Eventually.True(() => app.Logs.GetSnapshot().Count(record => record.Level >= LogLevel.Error) == i + 1);
        }

        Assert.Equal(1, app.Registry.Count);
        Assert.Equal(1, meters.Sum(Meters.Connections));
        Assert.Equal(0, meters.Sum(Meters.Ended));
        await using var next = await RawClient.OpenAsync(app, ("X-Id", "next"));
        await good.AssertOpenAsync();
    }

    sealed class ByHeader : IUserIdProvider
    {
        public string? GetUserId(HttpContext context) => context.Request.Headers["X-Id"] is [{ } id]
            ? id == "bad" ? throw new InvalidOperationException("boom") : id
            : null;
    }
}
