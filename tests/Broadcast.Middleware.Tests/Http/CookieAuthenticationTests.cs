using System.Security.Claims;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests endpoints that require a cookie. Without a valid cookie, the server answers with an error status, because
/// WebSocket and event stream clients cannot follow a redirect to a login page.
/// </summary>
public sealed class CookieAuthenticationTests
{
    static readonly (string, string?) Events = ("Accept", "text/event-stream");

    [Fact]
    public async Task WebSocket_WithoutCookie_IsRefusedWithStatus401()
    {
        await using var app = await StartAsync();
        Assert.Equal(401, (await RawClient.TryAsync(app)).Status);
        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task EventStream_WithoutCookie_IsRefusedWithStatus401()
    {
        await using var app = await StartAsync();
        await using var client = await EventClient.AskAsync(app, headers: [Events]);
        Assert.Equal(401, client.Status);
        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task WebSocketAndEventStream_CookieWithoutPermission_AreRefusedWithStatus403()
    {
        await using var app = await StartAsync();
        var cookie = await SignInAsync(app, "guest");
        Assert.Equal(403, (await RawClient.TryAsync(app, cookie)).Status);
        await using var client = await EventClient.AskAsync(app, headers: [Events, cookie]);
        Assert.Equal(403, client.Status);
    }

    [Fact]
    public async Task WebSocketAndEventStream_ValidCookie_AreAccepted()
    {
        await using var app = await StartAsync();
        var cookie = await SignInAsync(app, "member");
        await using var socket = await RawClient.OpenAsync(app, cookie);
        await using var client = await EventClient.OpenAsync(app, headers: [Events, cookie]);
        Assert.Equal(2, app.Registry.GetUserConnections("ann").Count());
    }

    [Fact]
    public async Task WebSocket_EndpointAllowsCookieRedirect_IsRedirected()
    {
        await using var app = await StartAsync(static endpoint => endpoint.AllowCookieRedirect());
        Assert.Equal(302, (await RawClient.TryAsync(app)).Status);
    }

    [Fact]
    public async Task OtherEndpoint_WithoutCookie_IsRedirected()
    {
        await using var app = await StartAsync();
        await using var client = await EventClient.AskAsync(app, "/page");
        Assert.Equal(302, client.Status);
        Assert.Contains("/Account/Login", client.Headers["Location"], StringComparison.Ordinal);
    }

    static Task<BroadcastApp> StartAsync(Action<BroadcastEndpointConventionBuilder>? configure = null) => BroadcastApp.StartAsync(
        builder =>
        {
            builder.Services.AddAuthentication(CookieAuthenticationDefaults.AuthenticationScheme).AddCookie();
            builder.Services.AddAuthorizationBuilder().AddPolicy("members", policy => policy.RequireRole("member"));
        },
        app =>
        {
            // By default, this middleware replaces an error status with a redirect.
            app.UseStatusCodePagesWithRedirects("/error/{0}");
            app.UseRouting();
            app.UseAuthentication();
            app.UseAuthorization();
            var endpoint = app.MapBroadcast("/ws").RequireAuthorization("members");
            configure?.Invoke(endpoint);
            app.MapGet("/page", () => "members only").RequireAuthorization("members");
            app.MapGet("/sign-in/{role}", (HttpContext context, string role) => context.SignInAsync(new ClaimsPrincipal(new ClaimsIdentity(
                [new(ClaimTypes.NameIdentifier, "ann"), new(ClaimTypes.Role, role)], CookieAuthenticationDefaults.AuthenticationScheme))));
        });

    static async Task<(string Name, string? Value)> SignInAsync(BroadcastApp app, string role)
    {
        await using var client = await EventClient.AskAsync(app, "/sign-in/" + role);
        return ("Cookie", client.Headers["Set-Cookie"].Split(';')[0]);
    }
}
