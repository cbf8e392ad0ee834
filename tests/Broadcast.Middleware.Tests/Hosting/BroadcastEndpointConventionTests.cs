using System.Security.Claims;
using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.RateLimiting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Tests.Hosting;

/// <summary>Tests that a mapped broadcast supports the usual endpoint conventions.</summary>
public sealed class BroadcastEndpointConventionTests
{
    [Fact]
    public async Task RequireAuthorization_AnonymousRequest_IsRefusedWithStatus401()
    {
        await using var app = await TestHosts.StartAsync(
            builder =>
            {
                builder.Services.AddAuthentication("test").AddScheme<AuthenticationSchemeOptions, TestScheme>("test", null);
                builder.Services.AddAuthorization();
            },
            map =>
            {
                map.UseAuthentication();
                map.UseAuthorization();
                map.MapBroadcast("/ws").RequireAuthorization();
            });
        Assert.Equal(StatusCodes.Status401Unauthorized, await GetRefusalAsync(app));
        Assert.Equal(0, app.Registry.Count);
        await using var client = await app.ConnectAsync(options: WithHeader("Authorization", "ann"));
        Assert.Equal([client.Connection], app.Registry.GetUserConnections("ann"));
        Assert.Equal("ann", client.Connection.User.Identity!.Name);
    }

    [Fact]
    public async Task RequireHost_OtherHost_IsRefusedWithStatus404()
    {
        await using var app = await TestHosts.StartAsync(map: map => map.MapBroadcast("/ws").RequireHost("chat.test"));
        Assert.Equal(StatusCodes.Status404NotFound, await GetRefusalAsync(app));
        await using var client = await app.ConnectAsync(options: WithHeader("Host", "chat.test"));
    }

    [Fact]
    public async Task RequireRateLimiting_PermitLimitReached_RefusesHandshakesUntilConnectionEnds()
    {
        var ended = 0;
        await using var app = await InMemoryApp.StartAsync(
            builder => builder.Services.AddRateLimiter(limiter => limiter.AddConcurrencyLimiter("two", options => options.PermitLimit = 2)),
            map =>
            {
                map.Use(async (context, next) =>
                {
                    await next(context);
                    Interlocked.Increment(ref ended);
                });
                map.UseRateLimiter();
                map.MapBroadcast("/ws").RequireRateLimiting("two");
            });
        using var one = await app.ConnectAsync();
        using var two = await app.ConnectAsync();
        Assert.Equal(StatusCodes.Status503ServiceUnavailable, await app.RefusedWithAsync());
        await one.CloseAsync();
        await one.ReceiveCloseAsync();
        await Eventually.True(() => Volatile.Read(ref ended) == 2);
        using var three = await app.ConnectAsync();
    }

    [Fact]
    public async Task Message_UseWebSocketsInSameApp_IsDelivered()
    {
        await using var app = await BroadcastApp.StartAsync(map: map =>
        {
            map.UseWebSockets();
            map.MapBroadcast("/ws");
        });
        using var client = new System.Net.WebSockets.ClientWebSocket();
        await client.ConnectAsync(new Uri($"ws://127.0.0.1:{app.Port}/ws"), TestContext.Current.CancellationToken);
        await Eventually.True(() => app.Registry.Connections.SingleOrDefault() is Connection { WasOpened: true });
        using var device = new Device(client, app.Registry.Connections.Single());
        await device.SendAsync("hello");
        Assert.Equal("hello", await device.ReceiveTextAsync());
        await device.CloseAsync();
        await device.ReceiveCloseAsync();
    }

    [Fact]
    public async Task GroupName_EndpointInRouteGroup_IncludesPrefix()
    {
        await using var app = await TestHosts.StartAsync(map: map => map.MapGroup("/api/{tenant}").MapGroup("v1").MapBroadcast("rooms/{room}"));
        await using var device = await app.ConnectAsync("/api/acme/v1/rooms/blue");
        Assert.Equal("/api/acme/v1/rooms/blue", device.Connection.HomeGroup);
    }

    [Fact]
    public async Task RouteGroup_RequiresHost_RefusesOtherHostWithStatus404()
    {
        await using var app = await TestHosts.StartAsync(map: map => map.MapGroup("/api").RequireHost("chat.test").MapBroadcast("/ws"));
        Assert.Equal(StatusCodes.Status404NotFound, await GetRefusalAsync(app, "/api/ws"));
    }

    [Fact]
    public async Task Use_MetadataBetweenFilters_KeepsFiltersAndMetadata()
    {
        await using var app = await InMemoryApp.StartAsync(map: map =>
        {
            map.Use((context, next) =>
            {
                context.Response.Headers["X-Name"] = context.GetEndpoint()?.DisplayName;
                return next(context);
            });
            map.MapBroadcast("/ws").Use((context, next) =>
            {
                context.Text += "!";
                return next(context);
            }).WithDisplayName("the chat").Use((context, next) =>
            {
                context.Text += "?";
                return next(context);
            });
        });
        using var device = await app.ConnectAsync();
        Assert.Equal("the chat", device.Connection.HttpContext.GetEndpoint()!.DisplayName);
        await device.SendAsync("x");
        Assert.Equal("x!?", await device.ReceiveTextAsync());
    }

    [Fact]
    public async Task GroupName_OverlappingPatterns_IsUrlPath()
    {
        await using var app = await TestHosts.StartAsync(map: map =>
        {
            map.MapBroadcast("/rooms/{room}");
            map.MapBroadcast("/rooms/lobby");
        });
        await using var one = await app.ConnectAsync("/rooms/lobby");
        await using var two = await app.ConnectAsync("/rooms/blue");
        Assert.Equal("/rooms/lobby", one.Connection.HomeGroup);
        Assert.Equal("/rooms/blue", two.Connection.HomeGroup);
    }

    static async Task<int?> GetRefusalAsync(BroadcastTestHost app, string path = "/ws") =>
        (await Assert.ThrowsAsync<BroadcastTestException>(() => app.ConnectAsync(path))).StatusCode;

    static TestClientOptions WithHeader(string name, string value)
    {
        var options = new TestClientOptions();
        options.Headers[name] = value;
        return options;
    }

    sealed class TestScheme(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder)
        : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
    {
        protected override Task<AuthenticateResult> HandleAuthenticateAsync() => Task.FromResult(
            Request.Headers.Authorization is [{ } user]
                ? AuthenticateResult.Success(new(
                    new(new ClaimsIdentity([new(ClaimTypes.NameIdentifier, user), new(ClaimTypes.Name, user)], "test")), "test"))
                : AuthenticateResult.NoResult());
    }
}
