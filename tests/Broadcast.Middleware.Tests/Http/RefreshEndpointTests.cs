using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Broadcast.Middleware.Tests.Clustering;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests the URL at which clients extend the authentication of their connections.</summary>
public sealed class RefreshEndpointTests
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    // The maximum time between two heartbeats.
    static readonly TimeSpan Beat = TimeSpan.FromSeconds(5);

    readonly FakeTimeProvider _time = new();
    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Refresh_SeveralTimes_KeepsConnectionOpenUntilLastTokenExpires()
    {
        await using var app = await StartAsync();
        await using var client = await OpenAsync(app, "ann");
        await using var other = await OpenAsync(app, "bob");
        var connection = app.Registry.GetUserConnections("ann").Single();

        for (var i = 0; i < 5; i++)
        {
            _time.Advance(Minute - (2 * Beat));
            Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(app, connection.Id, "ann"));
            await app.PublishAsync($"{i}");
            Assert.Equal($"{i}", (await client.ReadFrameAsync()).Text);
        }

        Assert.Equal(1008, await other.ClosedWithAsync());
        await client.AssertOpenAsync();
        _time.Advance(Minute + Beat);
        Assert.Equal(1008, await client.ClosedWithAsync());
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Refresh_NewClaims_AreVisibleToFilters()
    {
        var roles = new System.Collections.Concurrent.ConcurrentQueue<bool>();
        await using var app = await StartAsync(app =>
        {
            app.MapBroadcast("/ws").RequireAuthorization().Use((context, next) =>
            {
                roles.Enqueue(context.Connection.User.IsInRole("editor"));
                return next(context);
            });
            app.MapBroadcastRefresh("/ws/refresh", "/ws").RequireAuthorization();
        });
        await using var client = await OpenAsync(app, "ann");
        await client.SendAsync(ClientFrame.CreateText("1"));
        Assert.Equal("1", (await client.ReadFrameAsync()).Text);

        Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(app, app.Registry.Connections.Single().Id, "ann", headers: TestUsers.In("editor")));

        await client.SendAsync(ClientFrame.CreateText("2"));
        Assert.Equal("2", (await client.ReadFrameAsync()).Text);
        Assert.Equal([false, true], roles);
    }

    [Fact]
    public async Task Refresh_OtherUserOrUrlOrUnknownId_GetsStatus404AndChangesNothing()
    {
        await using var app = await StartAsync(app =>
        {
            app.MapBroadcast("/rooms/{room}").RequireAuthorization();
            app.MapBroadcastRefresh("/rooms/{room}/refresh", "/rooms/{room}").RequireAuthorization();
        });
        await using var client = await OpenAsync(app, "ann", "/rooms/blue");
        var connection = app.Registry.Connections.Single();
        var user = connection.User;

        Assert.Equal(HttpStatusCode.NotFound, await RefreshAsync(app, connection.Id, "bob", "/rooms/blue/refresh"));
        Assert.Equal(HttpStatusCode.NotFound, await RefreshAsync(app, connection.Id, "ann", "/rooms/red/refresh"));
        Assert.Equal(HttpStatusCode.NotFound, await RefreshAsync(app, "unknown", "ann", "/rooms/blue/refresh"));
        Assert.Same(user, connection.User);
        _time.Advance(Minute + Beat);
        Assert.Equal(1008, await client.ClosedWithAsync());
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Equal(HttpStatusCode.NotFound, await RefreshAsync(app, connection.Id, "ann", "/rooms/blue/refresh"));
    }

    [Fact]
    public async Task Refresh_ExpiredToken_GetsStatus401AndChangesNothing()
    {
        await using var app = await StartAsync();
        await using var client = await OpenAsync(app, "ann");
        var id = app.Registry.Connections.Single().Id;

        Assert.Equal(HttpStatusCode.Unauthorized, await RefreshAsync(app, id, "ann", expires: _time.GetUtcNow()));

        // The connection keeps the authentication of its handshake.
        _time.Advance(Beat);
        await client.AssertOpenAsync();
        Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(app, id, "ann"));
    }

    [Fact]
    public async Task Refresh_AnonymousConnection_GetsStatus404()
    {
        await using var app = await StartAsync(app =>
        {
            app.MapBroadcast("/ws");
            app.MapBroadcastRefresh("/ws/refresh", "/ws");
        });
        await using var client = await RawClient.OpenAsync(app);
        var connection = app.Registry.Connections.Single();

        Assert.Equal(HttpStatusCode.NotFound, await RefreshAsync(app, connection.Id, "ann"));
        Assert.Equal(HttpStatusCode.Unauthorized, await RefreshAsync(app, connection.Id, null));
        Assert.Null(connection.UserId);
        Assert.False(connection.User.Identity!.IsAuthenticated);
    }

    [Theory]
    [InlineData("https://elsewhere.example", null, HttpStatusCode.Forbidden)]
    [InlineData(null, "cross-site", HttpStatusCode.Forbidden)]
    [InlineData("null", null, HttpStatusCode.Forbidden)]
    [InlineData("https://app.example", "cross-site", HttpStatusCode.NoContent)]
    [InlineData("http://localhost", "same-origin", HttpStatusCode.NoContent)]
    public async Task Refresh_RequestFromPage_IsAcceptedOnlyFromAllowedOrigin(string? origin, string? site, HttpStatusCode expected)
    {
        await using var app = await StartAsync();
        await using var client = await OpenAsync(app, "ann");
        var status = await RefreshAsync(app, app.Registry.Connections.Single().Id, "ann", headers: [("Origin", origin), ("Sec-Fetch-Site", site)]);
        Assert.Equal(expected, status);
    }

    [Theory]
    [InlineData("text/plain", """{"connectionId":"$"}""", HttpStatusCode.UnsupportedMediaType)]
    [InlineData("application/x-www-form-urlencoded", "connectionId=$", HttpStatusCode.UnsupportedMediaType)]
    [InlineData("application/json", "", HttpStatusCode.BadRequest)]
    [InlineData("application/json", "{", HttpStatusCode.BadRequest)]
    [InlineData("application/json", "[\"$\"]", HttpStatusCode.BadRequest)]
    [InlineData("application/json", """{"connectionId":7}""", HttpStatusCode.BadRequest)]
    [InlineData("application/json", """{"connectionId":""}""", HttpStatusCode.BadRequest)]
    [InlineData("application/json", """{"connectionId":"\ud800"}""", HttpStatusCode.BadRequest)]
    [InlineData("application/json", """{"connectionId":"$","more":"######"}""", HttpStatusCode.BadRequest)]
    [InlineData("application/json; charset=utf-8", """{"connectionId":"$"}""", HttpStatusCode.NoContent)]
    public async Task Refresh_InvalidBodyOrContentType_IsRefusedWithExplanation(string contentType, string body, HttpStatusCode expected)
    {
        await using var app = await StartAsync();
        await using var client = await OpenAsync(app, "ann");
        body = body.Replace("$", app.Registry.Connections.Single().Id, StringComparison.Ordinal).Replace("######", new string('x', 1_024), StringComparison.Ordinal);

        var (status, text) = await PostAsync(app, "/ws/refresh", contentType, body, [TestUsers.As("ann")]);

        Assert.Equal(expected, status);
        // The body of each error response explains the fix.
        Assert.Equal(expected != HttpStatusCode.NoContent, text.Length > 20);
        await client.AssertOpenAsync();
    }

    [Fact]
    public async Task Refresh_OnOtherNode_ExtendsAuthentication()
    {
        await using var one = await StartAsync(isCluster: true);
        await using var two = await StartAsync(isCluster: true);
        await using var client = await OpenAsync(one, "ann");
        var connection = one.Registry.Connections.Single();
        await Eventually.True(() => two.Services.GetRequiredService<IPresence>().IsUserOnlineAsync("ann", Token).AsTask().GetAwaiter().GetResult());

        Assert.Equal(HttpStatusCode.NotFound, await RefreshAsync(two, connection.Id, "bob"));
        _time.Advance(Minute - (2 * Beat));
        Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(two, connection.Id, "ann", headers: TestUsers.In("editor")));
        Assert.True(connection.User.IsInRole("editor"));
        Assert.True(connection.User.Identity!.IsAuthenticated);
        _time.Advance(Minute - (2 * Beat));
        await client.AssertOpenAsync();
        _time.Advance(3 * Beat);
        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task Refresh_ClusterIsUnreachable_GetsStatus503()
    {
        var backplane = new ManualBackplane();
        await using var app = await StartAsync(backplane: backplane);
        backplane.Failures[nameof(IBackplane.GetMembersAsync)] = new BackplaneException("Unreachable.");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, await RefreshAsync(app, "elsewhere", "ann"));
    }

    /// <summary>Microsoft's Web PubSub client reconnects with its first URL, which contains the first token.</summary>
    [Fact]
    public async Task Refresh_ThenRecoveryWithExpiredToken_KeepsNewAuthentication()
    {
        await using var app = await StartAsync();
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann"), TestUsers.Until(_time.GetUtcNow() + Minute)]);
        await using var unextended = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("bob")]);
        Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(app, client.Id, "ann", expires: _time.GetUtcNow() + (3 * Minute)));
        client.Disconnect();
        unextended.Disconnect();
        await app.PublishToAsync(Recipients.Group("/ws"), "missed");

        // The authorization refuses a request without a user in the same way as a request with an expired token.
        await using var stranger = await ReliableClient.AskAsync(app, client.Id, "wrong");
        await ReliableClient.IsRefusedAsync(stranger);
        await using var refused = await ReliableClient.AskAsync(app, unextended.Id, unextended.Token);
        await ReliableClient.IsRefusedAsync(refused);
        await using var returned = await client.ReconnectAsync(await ReliableClient.AskAsync(app, client.Id, client.Token));

        await returned.ReceivesAsync("missed");
        Assert.Equal("ann", app.Registry.Find(client.Id)!.UserId);
        Assert.True(app.Registry.Find(client.Id)!.User.Identity!.IsAuthenticated);
        _time.Advance(2 * Minute);
        await returned.Transport.AssertOpenAsync();
        _time.Advance(Minute + Beat);
        Assert.Equal(1008, await returned.Transport.ClosedWithAsync());
    }

    [Fact]
    public async Task Recovery_WithOlderOrNewerToken_KeepsLaterExpiration()
    {
        await using var app = await StartAsync();
        var start = _time.GetUtcNow();
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann"), TestUsers.Until(start + Minute)]);
        Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(app, client.Id, "ann", expires: start + (3 * Minute)));

        client.Disconnect();
        await using var older = await client.ReconnectAsync(await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("ann"), TestUsers.Until(start + Minute)]));
        _time.Advance(2 * Minute);
        await older.Transport.AssertOpenAsync();
        older.Disconnect();
        await using var newer = await older.ReconnectAsync(await ReliableClient.AskAsync(app, older.Id, older.Token, headers: [TestUsers.As("ann"), TestUsers.Until(start + (5 * Minute))]));
        _time.Advance(2 * Minute);
        await newer.Transport.AssertOpenAsync();
        _time.Advance(Minute + Beat);
        Assert.Equal(1008, await newer.Transport.ClosedWithAsync());
    }

    [Fact]
    public async Task Recovery_RevalidatorHasAcceptedExpiredRefresh_AppliesLaterToken()
    {
        var revalidator = new Revalidator();
        await using var app = await StartAsync(revalidator: revalidator);
        var start = _time.GetUtcNow();
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann"), TestUsers.Until(start + Minute)]);
        Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(app, client.Id, "ann", expires: start + (2 * Minute)));
        var connection = client.ConnectionOf(app);
        _time.Advance((2 * Minute) + Beat);
        await Eventually.True(() => revalidator.Asked == 1);
        await Revalidator.CheckedAsync(connection);

        client.Disconnect();
        await using var returned = await client.ReconnectAsync(await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("ann"), TestUsers.Until(start + (5 * Minute)), TestUsers.In("editor")]));

        Assert.True(connection.User.IsInRole("editor"));
        await returned.Transport.AssertOpenAsync();
        _time.Advance(Minute);
        await returned.Transport.AssertOpenAsync();
        Assert.Equal(1, revalidator.Asked);
        _time.Advance(2 * Minute);
        await Eventually.True(() => revalidator.Asked == 2);
    }

    [Fact]
    public async Task Recovery_CloseOnAuthenticationExpirationIsFalse_AppliesOnlyLaterToken()
    {
        await using var app = await StartAsync(options: options => options.CloseOnAuthenticationExpiration = false);
        var start = _time.GetUtcNow();
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann"), TestUsers.Until(start + Minute)]);
        Assert.Equal(HttpStatusCode.NoContent, await RefreshAsync(app, client.Id, "ann", expires: start + (2 * Minute)));
        var connection = client.ConnectionOf(app);

        client.Disconnect();
        await using var later = await client.ReconnectAsync(await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("ann"), TestUsers.Until(start + (5 * Minute)), TestUsers.In("editor")]));
        Assert.True(connection.User.IsInRole("editor"));
        await later.Transport.AssertOpenAsync();
        later.Disconnect();
        await using var older = await later.ReconnectAsync(await ReliableClient.AskAsync(app, later.Id, later.Token, headers: [TestUsers.As("ann"), TestUsers.Until(start + (3 * Minute)), TestUsers.In("reader")]));
        Assert.True(connection.User.IsInRole("editor"));
    }

    async Task<HttpStatusCode> RefreshAsync(
        BroadcastApp app, string connectionId, string? user, string path = "/ws/refresh", DateTimeOffset? expires = null, params (string Name, string? Value)[] headers)
    {
        if (user is not null) headers = [TestUsers.As(user), TestUsers.Until(expires ?? (_time.GetUtcNow() + Minute)), .. headers];
        return (await PostAsync(app, path, "application/json", $$"""{"connectionId":"{{connectionId}}"}""", headers)).Status;
    }

    static async Task<(HttpStatusCode Status, string Text)> PostAsync(
        BroadcastApp app, string path, string contentType, string body, (string Name, string? Value)[] headers)
    {
        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{app.Port}") };
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new ByteArrayContent(Encoding.UTF8.GetBytes(body)) };
        request.Headers.Host = "localhost";
        request.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(contentType);
        foreach (var (name, value) in headers.Where(static header => header.Value is not null)) request.Headers.Add(name, value);
        using var response = await http.SendAsync(request, Token);
        return (response.StatusCode, await response.Content.ReadAsStringAsync(Token));
    }

    async Task<RawClient> OpenAsync(BroadcastApp app, string user, string path = "/ws")
    {
        var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync(path, TestUsers.As(user), TestUsers.Until(_time.GetUtcNow() + Minute))).Status);
        await client.JoinedAsync();
        return client;
    }

    Task<BroadcastApp> StartAsync(
        Action<WebApplication>? map = null,
        bool isCluster = false,
        IBackplane? backplane = null,
        IConnectionRevalidator? revalidator = null,
        Action<BroadcastOptions>? options = null) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddAuthorization();
            builder.Services.AddSingleton<TimeProvider>(_time);
            if (isCluster) builder.Services.AddBroadcast().AddInMemoryCluster(_cluster);
            if (backplane is not null) builder.Services.AddBroadcast().AddBackplane(_ => backplane);
            if (revalidator is not null) builder.Services.AddSingleton(revalidator);
        },
        map ?? (static app =>
        {
            app.MapBroadcast("/ws").RequireAuthorization();
            app.MapBroadcastRefresh("/ws/refresh", "/ws").RequireAuthorization();
        }),
        broadcast =>
        {
            broadcast.AllowedOrigins.Add("https://app.example");
            broadcast.KeepAliveInterval = broadcast.SendTimeout = broadcast.RevalidationInterval = Timeout.InfiniteTimeSpan;
            broadcast.CloseTimeout = TimeSpan.FromMinutes(30);
            broadcast.RecoveryTimeout = TimeSpan.FromMinutes(30);
            options?.Invoke(broadcast);
        });
}
