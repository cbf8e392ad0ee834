using System.Threading.RateLimiting;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.HttpLogging;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests that other ASP.NET Core middleware, such as response caching, neither delays nor changes a connection.
/// </summary>
public sealed class OtherMiddlewareTests
{
    const string Name = "fixed";

    static readonly Dictionary<string, (Action<IServiceCollection> Add, Action<WebApplication> Use)> Middleware = new()
    {
        ["output caching"] = (
            static services => services.AddOutputCache(static cache => cache.AddBasePolicy(static policy => policy.Expire(TimeSpan.FromHours(1)))),
            static app => app.UseOutputCache()),
        ["response caching"] = (static services => services.AddResponseCaching(), static app => app.UseResponseCaching()),
        ["response compression"] = (static services => services.AddResponseCompression(), static app => app.UseResponseCompression()),
        ["request timeouts"] = (
            static services => services.AddRequestTimeouts(static timeouts => timeouts.DefaultPolicy = new() { Timeout = TimeSpan.FromMinutes(1) }),
            static app => app.UseRequestTimeouts()),
        ["rate limiting"] = (
            static services => services.AddRateLimiter(static limiter => limiter.GlobalLimiter = PartitionedRateLimiter.Create<HttpContext, string>(
                static _ => RateLimitPartition.GetFixedWindowLimiter(Name, static _ => new() { PermitLimit = 100, Window = TimeSpan.FromHours(1) }))),
            static app => app.UseRateLimiter()),
        ["HTTP logging"] = (
            static services => services.AddHttpLogging(static logging => logging.LoggingFields = HttpLoggingFields.All),
            static app => app.UseHttpLogging()),
        ["session"] = (
            static services => services.AddDistributedMemoryCache().AddSession(),
            static app => app.UseSession()),
        ["developer exception page"] = (static _ => { }, static app => app.UseDeveloperExceptionPage()),
        ["status code pages"] = (static _ => { }, static app => app.UseStatusCodePagesWithReExecute("/error")),
    };

    public static TheoryData<string> Names() => [.. Middleware.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task WebSockets_WithOtherMiddleware_ReceiveEachOthersMessages(string middleware)
    {
        await using var app = await StartAsync(middleware);
        await using var one = await RawClient.OpenAsync(app);
        await using var two = await RawClient.OpenAsync(app);

        await one.SendAsync(ClientFrame.CreateText("hello"));

        Assert.Equal("hello", (await one.ReadFrameAsync()).Text);
        Assert.Equal("hello", (await two.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public async Task EventStreams_WithOtherMiddleware_ReceiveOnlyNewMessages(string middleware)
    {
        await using var app = await StartAsync(middleware);
        await using (var one = await EventClient.OpenAsync(app))
        {
            await app.PublishAsync("first");
            Assert.Equal(["first"], await one.ReceiveTextAsync(1));
            await using var two = await EventClient.OpenAsync(app);
            await app.PublishAsync("second");
            Assert.Equal(["second"], await one.ReceiveTextAsync(1));
            Assert.Equal(["second"], await two.ReceiveTextAsync(1));
            await CloseAllAsync(app);
            Assert.Equal("1000 ", await one.ReadCloseAsync());
            Assert.Equal("1000 ", await two.ReadCloseAsync());
        }

        await using var late = await EventClient.OpenAsync(app);
        await app.PublishAsync("third");
        Assert.Equal(["third"], await late.ReceiveTextAsync(1));
        LogAssert.NoErrors(app);
    }

    /// <summary>
    /// Tests a WebSocket that <c>UseWebSockets</c> accepts. The library must not take over the TCP connection of such a
    /// WebSocket.
    /// </summary>
    [Fact]
    public async Task WebSocket_AcceptedByUseWebSockets_RelaysMessages()
    {
        await using var app = await BroadcastApp.StartAsync(map: app =>
        {
            app.UseWebSockets();
            app.Use((context, next) =>
            {
                // Without this feature, the library cannot upgrade the request, so it uses the WebSocket of
                // UseWebSockets.
                context.Features.Set<IHttpUpgradeFeature>(null);
                return next(context);
            });
            app.MapBroadcast("/ws");
        });
        await using var one = await RawClient.OpenAsync(app);
        await using var two = await RawClient.OpenAsync(app);

        await one.SendAsync(ClientFrame.CreateText("hello"));

        Assert.Equal("hello", (await one.ReadFrameAsync()).Text);
        Assert.Equal("hello", (await two.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);
    }

    /// <summary>Tests output caching in front of routing, where middleware cannot read endpoint metadata.</summary>
    [Fact]
    public async Task EventStream_OutputCachingBeforeRouting_IsNotCached()
    {
        var (add, use) = Middleware["output caching"];
        await using var app = await BroadcastApp.StartAsync(builder => add(builder.Services), map =>
        {
            use(map);
            map.UseRouting();
            map.MapBroadcast("/ws");
        });
        await using (var one = await EventClient.OpenAsync(app))
        {
            await app.PublishAsync("first");
            Assert.Equal(["first"], await one.ReceiveTextAsync(1));
            await CloseAllAsync(app);
            Assert.Equal("1000 ", await one.ReadCloseAsync());
        }

        await using var two = await EventClient.OpenAsync(app);
        await app.PublishAsync("second");
        Assert.Equal(["second"], await two.ReceiveTextAsync(1));
    }

    [Fact]
    public async Task ConnectFilter_ThrowsWithDeveloperExceptionPage_ClosesWithCode1011()
    {
        await using var app = await BroadcastApp.StartAsync(map: map =>
        {
            map.UseDeveloperExceptionPage();
            map.MapBroadcast("/ws").UseConnect(static (_, _) => throw new InvalidOperationException("boom"));
        });
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);
        Assert.Equal(1011, await client.ClosedWithAsync());
        await using var events = await EventClient.AskAsync(app, headers: [("Accept", "text/event-stream")]);
        Assert.StartsWith("1011 ", await events.ReadCloseAsync(), StringComparison.Ordinal);
    }

    static Task<BroadcastApp> StartAsync(string middleware)
    {
        var (add, use) = Middleware[middleware];
        return BroadcastApp.StartAsync(builder => add(builder.Services), map =>
        {
            use(map);
            map.MapBroadcast("/ws");
        });
    }

    static async Task CloseAllAsync(BroadcastApp app)
    {
        foreach (var connection in app.Registry.Connections)
            await app.Broadcaster.CloseAsync(connection.Id, cancellationToken: TestContext.Current.CancellationToken);
        await Eventually.True(() => app.Registry.Count == 0);
    }
}
