using System.Security.Claims;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests connections whose cookie has a sliding expiration of 10 minutes.</summary>
public sealed class SlidingCookieTests : IDisposable
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    readonly FakeTimeProvider _time = new(DateTimeOffset.UtcNow);
    readonly HttpClient _http = new(new SocketsHttpHandler { UseCookies = false });

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _http.Dispose();

    [Fact]
    public async Task Cookie_RenewedByAnotherRequest_KeepsConnectionUntilNewExpiration()
    {
        await using var app = await StartAsync();
        var cookie = await SignInAsync(app, "ann");
        await using var client = await RawClient.OpenAsync(app, ("Cookie", cookie));
        await using var idle = await RawClient.OpenAsync(app, ("Cookie", await SignInAsync(app, "bob")));

        _time.Advance(6 * Minute);
        Assert.NotNull(await GetRenewedCookieAsync(app, cookie));
        _time.Advance(5 * Minute);

        Assert.Equal(1008, await idle.ClosedWithAsync());
        await client.AssertOpenAsync();
        _time.Advance(4 * Minute);
        await client.AssertOpenAsync();
        _time.Advance(2 * Minute);
        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task Cookie_RenewedSeveralTimes_KeepsConnectionOpen()
    {
        await using var app = await StartAsync();
        var cookie = await SignInAsync(app, "ann");
        await using var client = await RawClient.OpenAsync(app, ("Cookie", cookie));

        for (var i = 0; i < 5; i++)
        {
            _time.Advance(6 * Minute);
            // The server checks the expiration before it answers this ping. With a real clock, the server repeats the
            // check every few seconds.
            await client.AssertOpenAsync();
            cookie = await GetRenewedCookieAsync(app, cookie);
            Assert.NotNull(cookie);
            await client.AssertOpenAsync();
        }
    }

    [Fact]
    public async Task Cookie_RenewedByHandshake_KeepsConnectionOpen()
    {
        await using var app = await StartAsync();
        var cookie = await SignInAsync(app, "ann");
        _time.Advance(6 * Minute);
        await using var client = await RawClient.ConnectAsync(app);
        var answer = await client.HandshakeAsync("/ws", ("Cookie", cookie));
        Assert.Equal(101, answer.Status);
        Assert.NotNull(answer["Set-Cookie"]);
        await client.JoinedAsync();

        _time.Advance(6 * Minute);

        await client.AssertOpenAsync();
    }

    [Fact]
    public async Task Cookie_PrincipalRejectedDuringRenewal_ClosesConnectionWithCode1008()
    {
        var rejects = false;
        await using var app = await StartAsync(cookie => cookie.Events.OnValidatePrincipal = context =>
        {
            if (rejects) context.RejectPrincipal();
            return Task.CompletedTask;
        });
        var cookie = await SignInAsync(app, "ann");
        await using var client = await RawClient.OpenAsync(app, ("Cookie", cookie));

        _time.Advance(6 * Minute);
        rejects = true;
        using var response = await GetAsync(app, cookie);
        Assert.Equal("", await response.Content.ReadAsStringAsync(Token));
        _time.Advance(5 * Minute);

        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task SignOut_AfterHalfOfLifetime_DoesNotExtendConnection()
    {
        await using var app = await StartAsync();
        var cookie = await SignInAsync(app, "ann");
        await using var client = await RawClient.OpenAsync(app, ("Cookie", cookie));

        _time.Advance(6 * Minute);
        using var response = await GetAsync(app, cookie, "/signout");
        Assert.StartsWith(".AspNetCore.Cookies=;", response.Headers.GetValues("Set-Cookie").Single(), StringComparison.Ordinal);
        _time.Advance(5 * Minute);

        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task SignIn_OtherUserInSameBrowser_DoesNotExtendConnection()
    {
        await using var app = await StartAsync();
        var cookie = await SignInAsync(app, "ann");
        await using var client = await RawClient.OpenAsync(app, ("Cookie", cookie));

        _time.Advance(6 * Minute);
        using var response = await GetAsync(app, cookie, "/signin/bob");
        Assert.NotNull(ReadCookie(response));
        _time.Advance(5 * Minute);

        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task Cookie_RenewedWithEventsType_KeepsConnectionOpen()
    {
        await using var app = await StartAsync(cookie => cookie.EventsType = typeof(ScopedEvents));
        var cookie = await SignInAsync(app, "ann");
        await using var client = await RawClient.OpenAsync(app, ("Cookie", cookie));

        _time.Advance(6 * Minute);
        Assert.NotNull(await GetRenewedCookieAsync(app, cookie));
        _time.Advance(5 * Minute);

        await client.AssertOpenAsync();
    }

    [Fact]
    public async Task Cookie_PrincipalRejectedByOverriddenMethod_ClosesConnectionWithCode1008()
    {
        var events = new RejectingEvents();
        await using var app = await StartAsync(cookie => cookie.Events = events);
        var cookie = await SignInAsync(app, "ann");
        await using var client = await RawClient.OpenAsync(app, ("Cookie", cookie));

        _time.Advance(6 * Minute);
        events.Rejects = true;
        using var response = await GetAsync(app, cookie);
        Assert.Equal("", await response.Content.ReadAsStringAsync(Token));
        _time.Advance(5 * Minute);

        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    /// <summary>
    /// Two requests with the same old cookie renew the cookie. The browser keeps one of the two new cookies.
    /// </summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task Cookie_RenewedByTwoRequests_EitherCookieKeepsConnectionOpen(int kept)
    {
        await using var app = await StartAsync();
        var cookie = await SignInAsync(app, "ann");
        await using var client = await RawClient.OpenAsync(app, ("Cookie", cookie));
        var renewed = new string?[2];
        for (var i = 0; i < renewed.Length; i++)
        {
            _time.Advance((i == 0 ? 6 : 0.1) * Minute);
            renewed[i] = await GetRenewedCookieAsync(app, cookie);
        }

        _time.Advance(5 * Minute);
        await client.AssertOpenAsync();
        _time.Advance(Minute);
        Assert.NotNull(await GetRenewedCookieAsync(app, renewed[kept]));
        _time.Advance(5 * Minute);

        await client.AssertOpenAsync();
        _time.Advance(6 * Minute);
        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    Task<BroadcastApp> StartAsync(Action<CookieAuthenticationOptions>? configure = null) => BroadcastApp.StartAsync(
        builder =>
        {
            builder.Services.AddSingleton<TimeProvider>(_time).AddScoped<ScopedEvents>();
            builder.Services.AddAuthentication(CookieAuthenticationDefaults.AuthenticationScheme).AddCookie(cookie =>
            {
                cookie.ExpireTimeSpan = 10 * Minute;
                configure?.Invoke(cookie);
            });
        },
        app =>
        {
            app.MapBroadcast("/ws");
            app.MapGet("/name", (HttpContext context) => context.User.Identity?.Name ?? "");
            app.MapGet("/signin/{name}", (HttpContext context, string name) => context.SignInAsync(new ClaimsPrincipal(new ClaimsIdentity(
                [new(ClaimTypes.NameIdentifier, name), new(ClaimTypes.Name, name)], CookieAuthenticationDefaults.AuthenticationScheme))));
            app.MapGet("/signout", (HttpContext context) => context.SignOutAsync());
        },
        options => options.KeepAliveInterval = Timeout.InfiniteTimeSpan);

    async Task<string> SignInAsync(BroadcastApp app, string name)
    {
        using var response = await _http.GetAsync(new Uri($"http://localhost:{app.Port}/signin/{name}"), Token);
        return ReadCookie(response)!;
    }

    async Task<string?> GetRenewedCookieAsync(BroadcastApp app, string? cookie)
    {
        using var response = await GetAsync(app, cookie!);
        Assert.NotEqual("", await response.Content.ReadAsStringAsync(Token));
        return ReadCookie(response);
    }

    Task<HttpResponseMessage> GetAsync(BroadcastApp app, string cookie, string path = "/name")
    {
        var request = new HttpRequestMessage(HttpMethod.Get, new Uri($"http://localhost:{app.Port}{path}"));
        request.Headers.Add("Cookie", cookie);
        return _http.SendAsync(request, Token);
    }

    static string? ReadCookie(HttpResponseMessage response) =>
        response.Headers.TryGetValues("Set-Cookie", out var cookies) ? cookies.Single().Split(';')[0] : null;

    sealed class ScopedEvents : CookieAuthenticationEvents;

    /// <summary>Overrides <c>ValidatePrincipal</c> without a call of the delegates in the base class.</summary>
    sealed class RejectingEvents : CookieAuthenticationEvents
    {
        public bool Rejects { get; set; }

        public override Task ValidatePrincipal(CookieValidatePrincipalContext context)
        {
            if (Rejects) context.RejectPrincipal();
            return Task.CompletedTask;
        }
    }
}
