using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Hosting;

/// <summary>Tests the services that AddBroadcast adds, and the separation of named broadcasts.</summary>
public sealed class BroadcastServicesTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void MapBroadcast_BroadcastNotAdded_ThrowsAndNamesMissingCall()
    {
        var app = WebApplication.CreateSlimBuilder().Build();
        var error = Assert.Throws<InvalidOperationException>(() => app.MapBroadcast("/ws"));
        Assert.Equal("MapBroadcast(\"/ws\") found no broadcast. Call builder.Services.AddBroadcast() before you build the app.", error.Message);
    }

    [Fact]
    public void MapBroadcast_NamedBroadcastNotAdded_ThrowsAndNamesMissingCall()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Services.AddBroadcast();
        var app = builder.Build();
        var error = Assert.Throws<InvalidOperationException>(() => app.MapBroadcast("/ws", "news"));
        Assert.Equal(
            "MapBroadcast(\"/ws\") found no broadcast named 'news'. Call builder.Services.AddBroadcast(\"news\") before you build the app.", error.Message);
    }

    [Fact]
    public void MapBroadcast_NullArguments_Throw()
    {
        var app = WebApplication.CreateSlimBuilder().Build();
        Assert.Throws<ArgumentNullException>("endpoints", () => default(IEndpointRouteBuilder)!.MapBroadcast("/ws"));
        Assert.Throws<ArgumentNullException>("pattern", () => app.MapBroadcast(null!));
        Assert.Throws<ArgumentNullException>("name", () => app.MapBroadcast("/ws", (string)null!));
    }

    [Fact]
    public async Task AddBroadcast_Twice_AddsServicesOnce()
    {
        await using var app = await TestHosts.StartAsync(builder => builder.Services.AddBroadcast());
        Assert.Single(app.Services.GetServices<IBroadcaster>());
        Assert.Single(app.Services.GetServices<IConnectionRegistry>());
        await using var device = await app.ConnectAsync();
        await device.SendAsync("x");
        Assert.Equal("x", await device.ReceiveTextAsync());
        Assert.Equal(1, app.Registry.Count);
    }

    [Fact]
    public void BroadcastBuilder_Properties_ReturnNameAndServices()
    {
        var services = new ServiceCollection();
        Assert.Equal(("", services), (services.AddBroadcast().Name, services.AddBroadcast().Services));
        Assert.Equal("news", services.AddBroadcast("news").Name);
    }

    [Fact]
    public async Task ConnectionsProperty_TwoBroadcasts_ReturnsOwnRegistry()
    {
        await using var app = await TestHosts.StartAsync(builder => builder.Services.AddBroadcast("news"));
        var registry = app.Services.GetRequiredService<IConnectionRegistry>();
        Assert.Same(registry, app.Broadcaster.Connections);
        var news = app.Services.GetRequiredKeyedService<IBroadcaster>("news");
        Assert.NotSame(app.Broadcaster, news);
        Assert.Same(app.Services.GetRequiredKeyedService<IConnectionRegistry>("news"), news.Connections);
        Assert.NotSame(registry, news.Connections);
    }

    [Fact]
    public async Task Groups_SameNameInTwoBroadcasts_AreSeparate()
    {
        await using var app = await TestHosts.StartAsync(
            builder => builder.Services.AddBroadcast("news"),
            map =>
            {
                map.MapBroadcast("/ws", options => options.GroupScope = "").RequireHost("default.test");
                map.MapBroadcast("/ws", "news", options => options.GroupScope = "").RequireHost("news.test");
            });
        var news = app.Services.GetRequiredKeyedService<IBroadcaster>("news");
        await using var one = await ConnectAsync(app, "default.test");
        await using var two = await ConnectAsync(app, "news.test");
        Assert.Equal((1, 1), (app.Registry.CountGroupMembers("/ws"), news.Connections.CountGroupMembers("/ws")));
        Assert.Null(app.Registry.Find(two.Id));

        await one.SendAsync("by one");
        await two.SendAsync("by two");
        Assert.Equal(1, (await news.PublishAsync("for two", Recipients.Group("/ws"), cancellationToken: Token)).LocalRecipients);
        Assert.Equal(1, (await app.Broadcaster.PublishAsync("for one", cancellationToken: Token)).LocalRecipients);
        Assert.Equal(0, (await news.PublishAsync("nobody", Recipients.Connection(one.Id), cancellationToken: Token)).LocalRecipients);
        Assert.False(await news.CloseAsync(one.Id, cancellationToken: Token));
        Assert.Equal(["by one", "for one"], (await ReceiveTextAsync(one, 2)).Order(StringComparer.Ordinal));
        Assert.Equal(["by two", "for two"], (await ReceiveTextAsync(two, 2)).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task CustomRegistry_RegisteredBeforeOrAfterAddBroadcast_IsUsed(bool before)
    {
        var (own, ownNews) = (new SampleRegistry(), new SampleRegistry());
        var builder = WebApplication.CreateSlimBuilder();
        if (before) Register();
        builder.Services.AddBroadcast();
        builder.Services.AddBroadcast("news");
        if (!before) Register();
        await using var app = builder.Build();
        Assert.Same(own, app.Services.GetRequiredService<IBroadcaster>().Connections);
        Assert.Same(own, app.Services.GetRequiredService<IConnectionRegistry>());
        Assert.Same(ownNews, app.Services.GetRequiredKeyedService<IBroadcaster>("news").Connections);

        void Register()
        {
            builder.Services.AddSingleton<IConnectionRegistry>(own);
            builder.Services.AddKeyedSingleton<IConnectionRegistry>("news", ownNews);
        }
    }

    [Fact]
    public async Task CustomRegistry_WholeLifetime_TracksConnectionsAndGroups()
    {
        var own = new SampleRegistry();
        await using var app = await TestHosts.StartAsync(builder => builder.Services.AddSingleton<IConnectionRegistry>(own));
        await using (var device = await app.ConnectAsync(userId: "ann"))
        {
            Assert.Equal([device.Connection], own.Connections);
            Assert.Equal(1, own.CountGroupMembers("/ws"));
            await app.Broadcaster.PublishAsync("for ann", Recipients.User("ann"), cancellationToken: Token);
            Assert.Equal("for ann", await device.ReceiveTextAsync());
            await device.CloseAsync();
        }

        await Eventually.True(() => own.Count == 0 && own.CountGroupMembers("/ws") == 0);
    }

    static Task<RawTestClient> ConnectAsync(BroadcastTestHost app, string host)
    {
        var options = new TestClientOptions();
        options.Headers["Host"] = host;
        return app.ConnectAsync(options: options);
    }

    static async Task<string[]> ReceiveTextAsync(RawTestClient device, int count)
    {
        var heard = new string[count];
        for (var i = 0; i < count; i++) heard[i] = await device.ReceiveTextAsync();
        return heard;
    }
}
