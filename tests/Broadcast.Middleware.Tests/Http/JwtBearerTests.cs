using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests each way in which a browser can send a token. The file docs/guides/authentication.md describes these ways.</summary>
/// <remarks>One test listens to all activities of the process. This listener would change the results of other tests.</remarks>
[Collection(nameof(NotParallelCollection))]
public sealed class JwtBearerTests
{
    static readonly SymmetricSecurityKey Key = new(RandomNumberGenerator.GetBytes(32));

    // The clock of the server. JwtBearer checks tokens with the system clock, so both clocks start with the same time.
    readonly FakeTimeProvider _time = new(DateTimeOffset.UtcNow);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task QueryToken_OfWebSocketOrEventStream_SetsUserId(bool mapsInboundClaims)
    {
        await using var app = await StartAsync(ReadQuery, mapsInboundClaims, options: options => options.MaxConnectionsPerUser = 2);
        var path = $"/ws?access_token={CreateToken("ann")}";
        await using var socket = await RawClient.OpenAsync(app, path);
        await using var events = await EventClient.OpenAsync(app, path);

        Assert.All(app.Registry.Connections, connection => Assert.Equal("ann", connection.UserId));
        await app.PublishToAsync(Recipients.User("ann"), "for ann");
        Assert.Equal("for ann", (await socket.ReadFrameAsync()).Text);
        Assert.Equal(["for ann"], await events.ReceiveTextAsync(1));

        Assert.Equal(429, await AskAsync(app, path));
        Assert.Equal(401, await AskAsync(app, "/ws"));
        Assert.Equal(401, await AskAsync(app, path[..^2]));
        Assert.DoesNotContain(app.Logs.GetSnapshot(), record => record.Level >= LogLevel.Warning && record.Category == "Broadcast");
    }

    [Fact]
    public async Task QueryToken_InEachKindOfRequest_AppearsInNoLogAndNoActivity()
    {
        var token = CreateToken("ann");
        var signature = token.Split('.')[2];
        var tags = new ConcurrentQueue<string>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = static _ => true,
            Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = activity =>
            {
                tags.Enqueue(activity.DisplayName);
                foreach (var (key, value) in activity.TagObjects) tags.Enqueue($"{key}={value}");
            },
        };
        ActivitySource.AddActivityListener(listener);
        await using var app = await StartAsync(
            ReadQuery,
            // The project templates also contain this setting.
            configure: builder => builder.Logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning),
            map: app => app.MapBroadcast("/ws").RequireAuthorization()
                .Use((_, _) => throw new InvalidOperationException("The message filter fails.")));
        var path = $"/ws?access_token={token}";

        await using (var failing = await RawClient.OpenAsync(app, path))
        {
            await failing.SendAsync(ClientFrame.CreateText("fail"));
            Assert.Equal(1011, await failing.ClosedWithAsync());
        }

        await using (await EventClient.OpenAsync(app, path))
        {
        }

        Assert.Equal(401, await AskAsync(app, path[..^2]));
        Assert.Equal(403, await AskAsync(app, path, ("Origin", "https://elsewhere.example")));
        Assert.Equal(426, await AskAsync(app, path, ("Upgrade", null), ("Connection", null), ("Sec-WebSocket-Key", null)));
        await Eventually.True(() => app.Registry.Count == 0);
        app.StopApplication();
        await app.StopAsync();

        var records = app.Logs.GetSnapshot();
        Assert.NotEmpty(records);
        Assert.All(records, record =>
        {
            Assert.DoesNotContain(signature[..20], record.Message, StringComparison.Ordinal);
            Assert.DoesNotContain(signature[..20], record.Exception?.ToString() ?? "", StringComparison.Ordinal);
        });
        await Eventually.True(() => !tags.IsEmpty);
        Assert.All(tags, tag => Assert.DoesNotContain(signature[..20], tag, StringComparison.Ordinal));
    }

    [Fact]
    public async Task SubprotocolToken_WithKnownSubprotocol_SetsUserIdAndIsNotEchoed()
    {
        const string Known = "json.webpubsub.azure.v1";
        await using var app = await StartAsync(ReadSubprotocol);
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync("/ws", ("Sec-WebSocket-Protocol", $"{Known}, bearer.{CreateToken("ann")}"));

        Assert.Equal((101, Known), (answer.Status, answer["Sec-WebSocket-Protocol"]));
        Assert.Contains("connected", (await client.ReadFrameAsync()).Text, StringComparison.Ordinal);
        Assert.Equal("ann", Assert.Single(app.Registry.Connections).UserId);
        Assert.Equal(401, await AskAsync(app, "/ws", ("Sec-WebSocket-Protocol", $"{Known}, bearer.wrong")));
    }

    [Fact]
    public async Task FirstMessage_ValidToken_SetsUserBeforeJoin()
    {
        await using var app = await StartFirstMessageAsync(options => options.MaxConnectionsPerUser = 1);
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);
        // The server answers pings while it waits for the token.
        await client.JoinedAsync();
        await app.PublishAsync("too early");

        await client.SendAsync(ClientFrame.CreateText(CreateToken("ann")));
        await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == 1);
        await app.PublishToAsync(Recipients.User("ann"), "for ann");

        Assert.Equal("for ann", (await client.ReadFrameAsync()).Text);
        Assert.Equal("ann", Assert.Single(app.Registry.GetUserConnections("ann")).UserId);
        // The first message contains the token, so the message filters do not receive it. The message filters receive
        // the next message.
        await client.SendAsync(ClientFrame.CreateText("hello"));
        Assert.Equal("hello", (await client.ReadFrameAsync()).Text);

        // MaxConnectionsPerUser is 1, so the server refuses a second connection of the same user.
        await using var second = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await second.HandshakeAsync()).Status);
        await second.SendAsync(ClientFrame.CreateText(CreateToken("ann")));
        Assert.Equal(1008, await second.ClosedWithAsync());
        await client.LeaveAsync();
        await Eventually.True(() => app.Registry.Count == 0);
        await using var third = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await third.HandshakeAsync()).Status);
        await third.SendAsync(ClientFrame.CreateText(CreateToken("ann")));
        await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == 1);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task FirstMessage_TokenExpires_ClosesConnectionWithCode1008()
    {
        await using var app = await StartFirstMessageAsync();
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);
        await client.SendAsync(ClientFrame.CreateText(CreateToken("ann")));
        await client.JoinedAsync();
        await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == 1);

        _time.Advance(TimeSpan.FromMinutes(9));
        await client.AssertOpenAsync();
        _time.Advance(TimeSpan.FromMinutes(2));

        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    [Theory]
    [InlineData("not a token")]
    [InlineData(null)]
    public async Task FirstMessage_InvalidOrMissing_ClosesConnectionWithCode1008(string? first)
    {
        await using var app = await StartFirstMessageAsync();
        using var meters = new Meters(app);
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);
        await client.JoinedAsync();
        // The endpoint adds the connection to the heartbeat only if the connect filter does not complete immediately.
        var heartbeat = app.Services.GetRequiredKeyedService<BroadcastInstance>("").Heartbeat;
        await Eventually.True(() => heartbeat.JoiningWriters == 1);

        if (first is null) _time.Advance(TimeSpan.FromSeconds(20));
        else await client.SendAsync(ClientFrame.CreateText(first));

        Assert.Equal(1008, await client.ClosedWithAsync());
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Equal([first is null ? "first_message_timeout" : "closed_by_app"], meters.ByReason(Meters.Ended).Keys);
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData(true, "closed_by_peer")]
    [InlineData(false, "lost")]
    public async Task FirstMessage_ClientDisconnectsWithoutSending_EndsConnectionWithoutError(bool sendsCloseFrame, string reason)
    {
        await using var app = await StartFirstMessageAsync();
        using var meters = new Meters(app);
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);
        await client.JoinedAsync();

        if (sendsCloseFrame)
        {
            await client.SendAsync(ClientFrame.CreateClose(1000));
            Assert.Equal(1000, (await client.ReadCloseAsync()).CloseCode);
        }
        else
        {
            client.Reset();
        }

        await Eventually.True(() => app.Registry.Count == 0);
        await Eventually.True(() => meters.Sum(Meters.Ended) == 1);
        Assert.Equal([reason], meters.ByReason(Meters.Ended).Keys);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task UserId_AuthenticatedConnectionsWithoutClaim_LogsWarningOnce()
    {
        await using var app = await StartAsync(ReadQuery);
        var path = $"/ws?access_token={CreateToken(null)}";

        await using var first = await RawClient.OpenAsync(app, path);
        await using var second = await RawClient.OpenAsync(app, path);

        Assert.All(app.Registry.Connections, connection => Assert.Null(connection.UserId));
        var warning = Assert.Single(app.Logs.GetSnapshot(), record => record.Level == LogLevel.Warning && record.Category == "Broadcast");
        Assert.Contains(nameof(IUserIdProvider), warning.Message, StringComparison.Ordinal);
    }

    static async Task<int> AskAsync(BroadcastApp app, string path, params (string Name, string? Value)[] headers)
    {
        await using var client = await RawClient.ConnectAsync(app);
        return (await client.HandshakeAsync(path, headers)).Status;
    }

    static string CreateToken(string? user)
    {
        var claims = new Dictionary<string, object> { ["scope"] = "chat" };
        if (user is not null) claims["sub"] = user;
        return new JsonWebTokenHandler().CreateToken(new SecurityTokenDescriptor
        {
            Claims = claims,
            Expires = DateTime.UtcNow.AddMinutes(10),
            SigningCredentials = new(Key, SecurityAlgorithms.HmacSha256),
        });
    }

    static void ReadQuery(MessageReceivedContext context) => context.Token = context.Request.Query["access_token"];

    static void ReadSubprotocol(MessageReceivedContext context)
    {
        const string Prefix = "bearer.";
        var offered = context.Request.Headers.GetCommaSeparatedValues("Sec-WebSocket-Protocol");
        context.Token = offered.FirstOrDefault(name => name.StartsWith(Prefix, StringComparison.Ordinal))?[Prefix.Length..];
    }

    static Task<AuthenticateResult> AuthenticateAsync(IServiceProvider services, string token)
    {
        var request = new DefaultHttpContext { RequestServices = services };
        request.Request.Headers.Authorization = $"Bearer {token}";
        return request.AuthenticateAsync(JwtBearerDefaults.AuthenticationScheme);
    }

    static Task<BroadcastApp> StartAsync(
        Action<MessageReceivedContext> readToken,
        bool mapsInboundClaims = false,
        Action<WebApplicationBuilder>? configure = null,
        Action<WebApplication>? map = null,
        Action<BroadcastOptions>? options = null) => BroadcastApp.StartAsync(
        builder =>
        {
            builder.Services.AddAuthorization();
            builder.Services.AddAuthentication(JwtBearerDefaults.AuthenticationScheme).AddJwtBearer(jwt =>
            {
                jwt.MapInboundClaims = mapsInboundClaims;
                jwt.TokenValidationParameters = new() { ValidateAudience = false, ValidateIssuer = false, IssuerSigningKey = Key };
                jwt.Events = new JwtBearerEvents
                {
                    OnMessageReceived = context =>
                    {
                        readToken(context);
                        return Task.CompletedTask;
                    },
                };
            });
            configure?.Invoke(builder);
        },
        map ?? (app => app.MapBroadcast("/ws").RequireAuthorization()),
        options);

    Task<BroadcastApp> StartFirstMessageAsync(Action<BroadcastOptions>? options = null) => StartAsync(
        static _ => { },
        configure: builder => builder.Services.AddSingleton<TimeProvider>(_time),
        map: app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
        {
            if (await context.ReceiveAsync() is not { } message) return;
            var result = await AuthenticateAsync(context.Services, message.ToString());
            if (!result.Succeeded) return;
            if (context.TrySetUser(result.Principal, result.Properties.ExpiresUtc)) await next(context);
        }),
        options: all =>
        {
            (all.FirstMessageTimeout, all.KeepAliveInterval) = (TimeSpan.FromSeconds(5), Timeout.InfiniteTimeSpan);
            options?.Invoke(all);
        });
}
