using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using System.Security.Claims;
using System.Text.Encodings.Web;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace WebDemo.Tests;

/// <summary>
/// Tests the published npm client with tokens that expire after 60 seconds. The clock of the server is virtual, so the
/// tests do not wait until a token expires.
/// </summary>
public sealed class NpmClientRefreshTests : IAsyncDisposable
{
    static readonly TimeSpan Lifetime = TimeSpan.FromSeconds(60);

    readonly FakeTimeProvider _time = new();
    readonly InMemoryCluster _cluster = new();
    readonly HttpClient _http = new();
    readonly List<WebApplication> _apps = [];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        foreach (var app in _apps) await app.DisposeAsync();
    }

    [Theory]
    [InlineData(NpmClient.Reliable)]
    [InlineData(NpmClient.Plain)]
    public async Task Refresh_SeveralTimes_LosesNoMessage(string protocol)
    {
        var app = await StartAsync();
        await using var client = await ConnectAsync(new Uri(app.Urls.Single()), protocol);

        for (var i = 0; i < 6; i++)
        {
            await PublishAndReceiveAsync(app, client, $"before {i}");
            _time.Advance(Lifetime - TimeSpan.FromSeconds(20));
            Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(app, client));
            await PublishAndReceiveAsync(app, client, $"after {i}");
        }

        // The connection has lasted four times as long as its first token.
        client.AssertNoMoreEvents();
        Assert.Equal(client.ConnectionId, app.Services.GetRequiredService<IConnectionRegistry>().Connections.Single().Id);
    }

    /// <summary>Tests messages that the server publishes while it handles a refresh.</summary>
    [Theory]
    [InlineData(NpmClient.Reliable)]
    [InlineData(NpmClient.Plain)]
    public async Task Refresh_WhileMessagesArePublished_DeliversEachMessageOnce(string protocol)
    {
        var app = await StartAsync();
        await using var client = await ConnectAsync(new Uri(app.Urls.Single()), protocol);
        var broadcaster = app.Services.GetRequiredService<IBroadcaster>();
        var (published, received) = (0, 0);
        var reading = Task.Run(ReadToEndAsync, Token);

        for (var i = 0; i < 6; i++)
        {
            _time.Advance(Lifetime - TimeSpan.FromSeconds(20));
            var refreshing = RefreshAsync(app, client);
            do
            {
                await PublishAsync($"{published++}");
                // The client must not become a slow consumer, but some messages are always on the way.
                while (published - Volatile.Read(ref received) > 100 && !reading.IsCompleted) await Task.Yield();
            }
            while (!refreshing.IsCompleted && !reading.IsCompleted);

            Assert.Equal(HttpStatusCode.NoContent, await refreshing);
        }

        await PublishAsync("end");
        await reading;
        Assert.Equal(published, received);
        client.AssertNoMoreEvents();
        Assert.Equal(client.ConnectionId, app.Services.GetRequiredService<IConnectionRegistry>().Connections.Single().Id);

        async Task PublishAsync(string text) => await broadcaster.PublishAsync(text, Recipients.Group("/ws"), cancellationToken: Token);

        async Task ReadToEndAsync()
        {
            while ((await client.NextServerMessageAsync()).GetProperty("data").GetString() is var text && text != "end")
            {
                Assert.Equal($"{received}", text);
                Volatile.Write(ref received, received + 1);
            }
        }
    }

    [Fact]
    public async Task Token_ExpiresWithoutRefresh_DisconnectsClient()
    {
        var app = await StartAsync();
        await using var client = await ConnectAsync(new Uri(app.Urls.Single()), NpmClient.Plain);
        await PublishAndReceiveAsync(app, client, "before");

        _time.Advance(Lifetime + TimeSpan.FromSeconds(5));

        var disconnected = await client.NextEventAsync("disconnected");
        Assert.Contains("authentication has expired", disconnected.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Refresh_OnOtherNode_LosesNoMessage()
    {
        var (one, two) = (await StartAsync(), await StartAsync());
        await using var client = await ConnectAsync(new Uri(one.Urls.Single()), NpmClient.Reliable);
        var presence = two.Services.GetRequiredService<IPresence>();
        while (!await presence.IsUserOnlineAsync("ann", Token)) await Task.Delay(10, Token);

        for (var i = 0; i < 3; i++)
        {
            _time.Advance(Lifetime - TimeSpan.FromSeconds(20));
            Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(two, client));
            await PublishAndReceiveAsync(two, client, $"{i}");
        }

        client.AssertNoMoreEvents();
    }

    /// <summary>The client recovers with the URL of its connection. The token in this URL has expired.</summary>
    [Fact]
    public async Task Refresh_ThenNetworkFailure_ClientRecoversAndLosesNoMessage()
    {
        var app = await StartAsync();
        await using var proxy = new TcpProxy(new Uri(app.Urls.Single()));
        proxy.Start();
        await using var client = await ConnectAsync(proxy.Url, NpmClient.Reliable);
        for (var i = 0; i < 2; i++)
        {
            _time.Advance(Lifetime - TimeSpan.FromSeconds(20));
            Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(app, client));
        }

        Assert.Equal(1, proxy.ResetConnections());
        await PublishAndReceiveAsync(app, client, "missed");

        await PublishAndReceiveAsync(app, client, "later");
        client.AssertNoMoreEvents();
        Assert.Equal(client.ConnectionId, app.Services.GetRequiredService<IConnectionRegistry>().Connections.Single().Id);
    }

    static async Task PublishAndReceiveAsync(WebApplication app, NpmClient client, string text)
    {
        await app.Services.GetRequiredService<IBroadcaster>().PublishAsync(text, Recipients.Group("/ws"), cancellationToken: Token);
        Assert.Equal(text, (await client.NextServerMessageAsync()).GetProperty("data").GetString());
    }

    Task<NpmClient> ConnectAsync(Uri server, string protocol) => NpmClient.ConnectAsync(
        new UriBuilder(server) { Query = $"expires={CreateToken()}" }.Uri, protocol);

    async Task<HttpStatusCode> RefreshAsync(WebApplication app, NpmClient client)
    {
        var url = $"{app.Urls.Single()}/ws/refresh?expires={CreateToken()}";
        using var response = await _http.PostAsJsonAsync(url, new { connectionId = client.ConnectionId }, Token);
        return response.StatusCode;
    }

    string CreateToken() => (_time.GetUtcNow() + Lifetime).ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);

    async Task<WebApplication> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddSingleton<TimeProvider>(_time);
        builder.Services.AddBroadcast(static options => options.KeepAliveInterval = options.SendTimeout = Timeout.InfiniteTimeSpan).AddInMemoryCluster(_cluster);
        builder.Services.AddAuthorization();
        builder.Services.AddAuthentication(ExpiringTokens.Name).AddScheme<AuthenticationSchemeOptions, ExpiringTokens>(ExpiringTokens.Name, null);
        var app = builder.Build();
        app.MapBroadcast("/ws").RequireAuthorization();
        app.MapBroadcastRefresh("/ws/refresh", "/ws").RequireAuthorization();
        await app.StartAsync(Token);
        _apps.Add(app);
        return app;
    }

    /// <summary>An authentication handler for tokens that contain only the time of their expiration.</summary>
    sealed class ExpiringTokens(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, TimeProvider time)
        : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
    {
        public const string Name = "ExpiringTokens";

        protected override Task<AuthenticateResult> HandleAuthenticateAsync()
        {
            if (!long.TryParse(Request.Query["expires"], CultureInfo.InvariantCulture, out var seconds)) return Task.FromResult(AuthenticateResult.NoResult());
            var expires = DateTimeOffset.FromUnixTimeSeconds(seconds);
            if (expires <= time.GetUtcNow()) return Task.FromResult(AuthenticateResult.Fail("The token has expired."));
            var user = new ClaimsPrincipal(new ClaimsIdentity([new(ClaimTypes.NameIdentifier, "ann")], Name));
            return Task.FromResult(AuthenticateResult.Success(new AuthenticationTicket(user, new() { ExpiresUtc = expires }, Name)));
        }
    }
}
