using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Claims;
using System.Text.Encodings.Web;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace WebDemo.Tests;

/// <summary>Tests the published npm client with URLs that expire, like URLs with a token in the query string.</summary>
public sealed class NpmClientExpiringUrlTests
{
    // The published client repeats a recovery for up to 30 seconds. A connect within this limit shows that the client
    // did not wait so long.
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(25);

    [Fact]
    public async Task Recovery_UrlHasExpired_ConnectsAtOnceWithNewUrl()
    {
        var token = TestContext.Current.CancellationToken;
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddBroadcast();
        builder.Services.AddAuthorization();
        builder.Services.AddAuthentication(ExpiringUrls.Name).AddScheme<AuthenticationSchemeOptions, ExpiringUrls>(ExpiringUrls.Name, null);
        await using var app = builder.Build();
        app.MapBroadcast("/ws").RequireAuthorization();
        await app.StartAsync(token);
        await using var proxy = new TcpProxy(new Uri(app.Urls.Single()));
        proxy.Start();
        await using var client = await NpmClient.ConnectAsync(proxy.Url, NpmClient.Reliable, new { newUrls = true });

        var watch = Stopwatch.StartNew();
        Assert.Equal(1, proxy.ResetConnections());
        await client.NextEventAsync("disconnected");
        var connected = await client.NextEventAsync("connected");

        Assert.InRange(watch.Elapsed, TimeSpan.Zero, Limit);
        Assert.NotEqual(client.ConnectionId, connected.GetProperty("connectionId").GetString());
        await app.Services.GetRequiredService<IBroadcaster>().PublishAsync("welcome back", Recipients.Group("/ws"), cancellationToken: token);
        Assert.Equal("welcome back", (await client.NextServerMessageAsync()).GetProperty("data").GetString());
        client.AssertNoMoreEvents();
    }

    /// <summary>
    /// An authentication handler that accepts each URL for one request. So the URL has expired when the client tries to
    /// recover.
    /// </summary>
    sealed class ExpiringUrls(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder)
        : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
    {
        public const string Name = "ExpiringUrls";

        static readonly ConcurrentDictionary<string, byte> Used = new();

        protected override Task<AuthenticateResult> HandleAuthenticateAsync()
        {
            if (!Used.TryAdd(Request.Query["ticket"].ToString(), 0)) return Task.FromResult(AuthenticateResult.Fail("The URL has expired."));
            var user = new ClaimsPrincipal(new ClaimsIdentity([new(ClaimTypes.NameIdentifier, "ann")], Name));
            return Task.FromResult(AuthenticateResult.Success(new AuthenticationTicket(user, Name)));
        }
    }
}
