using System.Security.Claims;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Hosting;

/// <summary>Tests recovery requests that authorization refuses before the endpoint runs.</summary>
public sealed class UnauthorizedRecoveryTests
{
    [Fact]
    public async Task Recovery_WithoutAuthentication_GetsOnlyCloseFrameWithCode1008()
    {
        await using var app = await StartAsync();
        using var meters = new Meters(app);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann")]);

        await using var stranger = await ReliableClient.AskAsync(app, client.Id, client.Token);
        await ReliableClient.IsRefusedAsync(stranger);

        // The refused request does not end the connection, so the client can still recover the connection.
        await client.Transport.AssertOpenAsync();
        Assert.Equal(1, app.Registry.Count);
        Assert.Equal(1, meters.ByReason(Meters.Refused)["recovery"]);
        client.Disconnect();
        await using var returned = await client.ReconnectAsync(app);
        await returned.Transport.AssertOpenAsync();
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Recovery_ForbiddenUser_IsClosedWithCode1008()
    {
        await using var app = await StartAsync();
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann")]);

        await using var banned = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("banned")]);

        await ReliableClient.IsRefusedAsync(banned);
    }

    [Theory]
    [InlineData("/ws", ReliableClient.Subprotocol, null)]
    [InlineData("/ws?awps_connection_id=1&awps_reconnection_token=2", "json.webpubsub.azure.v1", null)]
    [InlineData("/ws?awps_connection_id=1&awps_reconnection_token=2", ReliableClient.Subprotocol, "https://elsewhere.example")]
    [InlineData("/page?awps_connection_id=1&awps_reconnection_token=2", ReliableClient.Subprotocol, null)]
    public async Task OtherRequest_WithoutAuthentication_IsRefusedWithStatus401(string path, string subprotocol, string? origin)
    {
        await using var app = await StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync(path, JsonClient.Offers(subprotocol), ("Origin", origin));

        Assert.Equal(401, answer.Status);
    }

    /// <summary>
    /// The endpoint requires authorization, so the provider of the app may expect an authenticated user. The library
    /// must not call the provider for an unauthenticated request.
    /// </summary>
    [Fact]
    public async Task Recovery_WithoutAuthentication_DoesNotCallUserIdProvider()
    {
        await using var app = await StartAsync(configure: builder => builder.Services.AddSingleton<IUserIdProvider>(new UsersOnly()));

        await using var stranger = await ReliableClient.AskAsync(app, "1", "2");

        await ReliableClient.IsRefusedAsync(stranger);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Recovery_WithoutAuthentication_CountsTowardLimits()
    {
        await using var app = await StartAsync(options => options.MaxConnectionsPerAddress = 1);
        await using var first = await ReliableClient.AskAsync(app, "1", "2");
        // The server waits until this client answers the close frame.
        Assert.Equal(1008, (await first.ReadCloseAsync()).CloseCode);

        await using var second = await RawClient.ConnectAsync(app);
        var answer = await second.HandshakeAsync(
            "/ws?awps_connection_id=1&awps_reconnection_token=2", JsonClient.Offers(ReliableClient.Subprotocol));

        Assert.Equal(429, answer.Status);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("bob")]
    public async Task Recovery_RefusedClientStillConnected_RecoversConnection(string? stranger)
    {
        await using var app = await StartAsync(options => options.MaxConnectionsPerAddress = 1);
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann")]);
        client.Disconnect();
        await using var refused = stranger is null
            ? await ReliableClient.AskAsync(app, client.Id, "invalid")
            : await ReliableClient.AskAsync(app, client.Id, "invalid", headers: [TestUsers.As(stranger)]);
        // The server waits until this client answers the close frame.
        Assert.Equal(1008, (await refused.ReadCloseAsync()).CloseCode);

        await using var returned = await client.ReconnectAsync(app);

        await returned.Transport.AssertOpenAsync();
    }

    static Task<BroadcastApp> StartAsync(
        Action<BroadcastOptions>? options = null, Action<WebApplicationBuilder>? configure = null) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddAuthorization();
            configure?.Invoke(builder);
        },
        app =>
        {
            app.MapBroadcast("/ws").RequireAuthorization(policy => policy.RequireAssertion(
                static context => context.User.Identity is { IsAuthenticated: true } && !context.User.HasClaim(static claim => claim.Value == "banned")));
            app.MapGet("/page", () => Results.Ok()).RequireAuthorization();
        },
        options);

    sealed class UsersOnly : IUserIdProvider
    {
        public string? GetUserId(HttpContext context) => context.User.FindFirst(ClaimTypes.NameIdentifier)!.Value;
    }
}
