using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Claims;
using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Testing;
using Microsoft.IdentityModel.Tokens;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Runs code of the documents with the test kit, without a port.</summary>
public sealed class SnippetRunTests
{
    readonly byte[] _key = RandomNumberGenerator.GetBytes(32);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Presence_StateOfMember_ReachesWatchersOfTheRoom()
    {
        await using var host = await StartAsync(
            static app =>
            {
                PresenceSnippets.Users(app);
                PresenceSnippets.Endpoint(app);
                PresenceSnippets.Selection(app);
            },
            // The endpoint sends changes at intervals. So this test uses the real clock.
            static builder => builder.Services.AddSingleton(TimeProvider.System).AddAuthorization());
        var ann = await host.ConnectAsync("/rooms/blue", "ann");
        var id = ann.Connection.Id;
        var members = await host.ConnectAsync("/rooms/blue/presence", "bob");
        Assert.Equal($$"""{"type":"snapshot","members":[{"id":"{{id}}"}]}""", await members.ReceiveTextAsync());

        using var watch = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var watching = PresenceSnippets.StatesAsync(host.Services.GetRequiredService<IPresence>(), id, watch.Token);
        Assert.Equal($$$"""{"type":"update","members":[{"id":"{{{id}}}","state":{"Name":"Ann"}}]}""", await members.ReceiveTextAsync());
        var names = await host.ConnectAsync("/rooms/blue/names", "bob");
        Assert.Equal($$$"""{"type":"snapshot","members":[{"id":"{{{id}}}","state":{"Name":"Ann"}}]}""", await names.ReceiveTextAsync());
        Assert.Equal("""["ann"]""", await GetAsync(host, "/rooms/blue/users"));
        await watch.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => watching);
    }

    [Fact]
    public async Task Filters_ClientWithName_ReceivesWelcomeAndChangedTexts()
    {
        await using var host = await StartAsync(Snippets.Filters);
        var ann = await host.ConnectAsync("/chat?name=Ann");
        Assert.Equal("welcome", await ann.ReceiveTextAsync());
        await ann.SendAsync(new byte[] { 1 });
        await ann.SendAsync("hello");
        Assert.Equal("Ann: hello", await ann.ReceiveTextAsync());
        await host.Broadcaster.PublishAsync("news", Recipients.Group("/announcements"), cancellationToken: Token);
        Assert.Equal("news", await ann.ReceiveTextAsync());

        var stranger = await host.ConnectAsync("/chat");
        Assert.Equal(1008, (await stranger.ReceiveCloseAsync()).Code);
    }

    [Fact]
    public async Task Publish_EachKindOfRecipients_ReachesMember()
    {
        await using var host = await StartAsync(static app =>
        {
            app.MapBroadcast("/rooms/{room}");
            Snippets.Publish(app);
            Snippets.Registry(app);
        });
        var ann = await host.ConnectAsync("/rooms/blue", "ann");
        Assert.Equal("sent to 1 connections", await PostAsync(host, "/news?headline=rain"));
        for (var i = 0; i < 4; i++) Assert.Equal("rain", await ann.ReceiveTextAsync());
        Assert.Equal([1, 2, 3], (await ann.ReceiveAsync()).Payload.ToArray());
        Assert.Equal("""{"headline":"rain"}""", await ann.ReceiveTextAsync());

        Assert.Equal("1", await GetAsync(host, "/count"));
        Assert.Equal("1", await GetAsync(host, "/rooms/blue/count"));
        using var connections = JsonDocument.Parse(await GetAsync(host, "/users/ann/connections"));
        var connection = connections.RootElement.EnumerateArray().Single();
        Assert.Equal(
            (ann.Connection.Id, "127.0.0.1"), (connection.GetProperty("id").GetString(), connection.GetProperty("address").GetString()));
    }

    [Fact]
    public async Task Features_EventsAndOnceAndTransient_BehaveAsDescribed()
    {
        await using var host = await StartAsync(
            static app =>
            {
                FeatureSnippets.Events(app);
                app.MapBroadcast("/orders");
                app.MapBroadcast("/rooms/{room}");
            },
            static builder => builder.Services.AddSingleton<IGroupAuthorizer, RoomAuthorizer>());
        var ann = await host.ConnectStructuredAsync(userId: "ann");
        await ann.SendEventAsync("rename", "Annie");
        Assert.Equal("You are now Annie.", await ann.ReceiveTextAsync());
        await ann.JoinGroupAsync("/rooms/blue");
        await FeatureSnippets.TransientAsync(host.Broadcaster, "bob");
        Assert.Equal("""{"UserId":"bob"}""", await ann.ReceiveTextAsync());
        var refusal = await Assert.ThrowsAsync<BroadcastTestException>(() => ann.JoinGroupAsync("/orders"));
        Assert.Equal("Forbidden", refusal.ErrorName);

        var orders = await host.ConnectAsync("/orders");
        var logger = new FakeLogger();
        for (var i = 0; i < 2; i++) await FeatureSnippets.PublishOnceAsync(host.Broadcaster, new PaidOrder(7), logger);
        Assert.Equal("""{"Id":7}""", await orders.ReceiveTextAsync());
        await orders.ReceiveNothingAsync();
        Assert.Equal("The clients already have this message.", Assert.Single(logger.Collector.GetSnapshot()).Message);
        await FeatureSnippets.MembershipAsync(host.Broadcaster, orders.Connection.Id);
        Assert.Equal(1000, (await orders.ReceiveCloseAsync()).Code);
    }

    [Fact]
    public async Task LiveUpdates_Visitors_ReachDashboard()
    {
        await using var host = await StartAsync(LiveUpdatesGuide.Map, static builder =>
        {
            builder.Services.AddSingleton<OrderStore>();
            LiveUpdatesGuide.AddVisitors(builder);
        });
        var dashboard = await host.ConnectEventStreamAsync("/status");
        // The first message can contain the number before this client joined.
        string text;
        do text = await dashboard.ReceiveTextAsync();
        while (text != """{"visitors":1}""");
    }

    [Fact]
    public async Task SignalRMigration_MessageOfMember_ReachesOthersInRoom()
    {
        await using var host = await StartAsync(static app => MigrationSnippets.After(WebApplication.CreateEmptyBuilder(new()), app));
        var ann = await host.ConnectAsync("/chat/blue");
        var bob = await host.ConnectAsync("/chat/blue");
        var red = await host.ConnectAsync("/chat/red");
        await ann.SendAsync("hello");
        Assert.Equal("hello", await bob.ReceiveTextAsync());
        await PostAsync(host, "/news?text=rain");
        foreach (var client in new[] { ann, bob, red }) Assert.Equal("""{"news":"rain"}""", await client.ReceiveTextAsync());
    }

    [Fact]
    public async Task RawMigration_MessageOfMember_ReachesAllMembers()
    {
        await using var host = await StartAsync(static app => MigrationSnippets.RawAfter(WebApplication.CreateEmptyBuilder(new()), app));
        var ann = await host.ConnectAsync();
        var bob = await host.ConnectAsync();
        await ann.SendAsync("hello");
        foreach (var client in new[] { ann, bob }) Assert.Equal("hello", await client.ReceiveTextAsync());
    }

    [Fact]
    public async Task Token_InQueryString_SetsUser()
    {
        await using var host = await StartAsync(MapWithTokens, builder =>
        {
            AuthenticationSnippets.Query(builder);
            builder.Services.Configure<JwtBearerOptions>(JwtBearerDefaults.AuthenticationScheme, Accept);
            AddKey(builder);
        });
        var client = await host.ConnectAsync($"/chat?access_token={await CreateTokenAsync(host)}");
        Assert.Equal("ann", client.Connection.UserId);
        var refusal = await Assert.ThrowsAsync<BroadcastTestException>(() => host.ConnectAsync("/chat?access_token=x"));
        Assert.Equal(401, refusal.StatusCode);
    }

    [Fact]
    public async Task Token_InSubprotocol_SetsUserAndCanBeRefreshed()
    {
        await using var host = await StartAsync(MapWithTokens, builder =>
        {
            AddKey(builder);
            AuthenticationSnippets.Jwt(builder);
            builder.Services.Configure<JwtBearerOptions>(
                JwtBearerDefaults.AuthenticationScheme, static options => options.Events = AuthenticationSnippets.Subprotocol());
        });
        var token = await CreateTokenAsync(host);
        var client = await host.ConnectStructuredAsync("/chat", options: Offer(token));
        Assert.Equal("ann", client.Connection.UserId);
        var refusal = await Assert.ThrowsAsync<BroadcastTestException>(() => host.ConnectStructuredAsync("/chat", options: Offer("x")));
        Assert.Equal(401, refusal.StatusCode);

        var user = client.Connection.User;
        using var http = host.CreateHttpClient();
        http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        using var refresh = await http.PostAsJsonAsync("/chat/refresh", new { connectionId = client.Connection.Id }, Token);
        Assert.Equal(HttpStatusCode.NoContent, refresh.StatusCode);
        Assert.NotSame(user, client.Connection.User);

        static TestClientOptions Offer(string token)
        {
            var options = new TestClientOptions();
            options.Headers["Sec-WebSocket-Protocol"] = $"json.webpubsub.azure.v1, bearer.{token}";
            return options;
        }
    }

    [Fact]
    public async Task Token_InFirstMessage_SetsUserBeforeJoin()
    {
        await using var host = await StartAsync(
            static app =>
            {
                AuthenticationSnippets.MapRooms(app);
                AuthenticationSnippets.MapFirstMessage(app);
            },
            builder =>
            {
                AddKey(builder);
                AuthenticationSnippets.Jwt(builder);
                AuthenticationSnippets.FirstMessage(builder);
            });
        var client = await host.ConnectAsync("/chat");
        await host.Broadcaster.PublishAsync("early", Recipients.Everyone, cancellationToken: Token);
        await client.SendAsync(await CreateTokenAsync(host));
        await client.PingAsync();
        Assert.Equal("ann", client.Connection.UserId);
        await host.Broadcaster.PublishAsync("late", Recipients.User("ann"), cancellationToken: Token);
        Assert.Equal("late", await client.ReceiveTextAsync());

        var stranger = await host.ConnectAsync("/chat");
        await stranger.SendAsync("x");
        Assert.Equal(1008, (await stranger.ReceiveCloseAsync()).Code);
        var silent = await host.ConnectAsync("/chat");
        var close = silent.ReceiveCloseAsync();
        await Eventually.True(() =>
        {
            host.Time.Advance(TimeSpan.FromSeconds(5));
            return close.IsCompleted;
        });
        Assert.Equal(1008, (await close).Code);
    }

    [Fact]
    public async Task UserIdProvider_ClaimEmail_IsUserId()
    {
        await using var host = await StartAsync(static app => app.MapBroadcast("/ws"), AuthenticationSnippets.UserId);
        var client = await host.ConnectAsync(options: new() { User = TestClientOptions.CreateUser("7", new Claim("email", "ann@example.com")) });
        Assert.Equal("ann@example.com", client.Connection.UserId);
    }

    static Task<BroadcastTestHost> StartAsync(Action<WebApplication> map, Action<WebApplicationBuilder>? configure = null) =>
        BroadcastTestHost.StartAsync(map: map, configure: configure, cancellationToken: Token);

    static async Task<string> GetAsync(BroadcastTestHost host, string path)
    {
        using var http = host.CreateHttpClient();
        return await http.GetStringAsync(path, Token);
    }

    static async Task<string> PostAsync(BroadcastTestHost host, string path)
    {
        using var http = host.CreateHttpClient();
        using var response = await http.PostAsync(path, null, Token);
        return await response.EnsureSuccessStatusCode().Content.ReadAsStringAsync(Token);
    }

    static Task<string> CreateTokenAsync(BroadcastTestHost host) => PostAsync(host, "/token?name=ann&room=blue");

    /// <summary>Maps the URL that creates tokens, and a URL that requires a token.</summary>
    static void MapWithTokens(WebApplication app)
    {
        AuthenticationSnippets.MapRooms(app);
        AuthenticationSnippets.Refresh(app);
    }

    void AddKey(WebApplicationBuilder builder)
    {
        builder.Configuration.AddInMemoryCollection([new("Jwt:Key", Convert.ToBase64String(_key))]);
        builder.Services.AddAuthorization();
    }

    void Accept(JwtBearerOptions options)
    {
        options.MapInboundClaims = false;
        options.TokenValidationParameters = new()
        {
            ValidIssuer = "https://example.com", ValidAudience = "chat", IssuerSigningKey = new SymmetricSecurityKey(_key),
        };
    }
}
