using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Filters;

public sealed class FilterCompositionTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Filter_EndpointsListedRepeatedly_IsValidatedOnce()
    {
        var made = new Made();
        await using var app = await TestHosts.StartAsync(
            builder => builder.Services.AddSingleton(made),
            map =>
            {
                map.MapBroadcast("/ws").Use<Counted>();
                // API explorers and route groups also list the endpoints, so the test lists them repeatedly.
                for (var i = 0; i < 3; i++) Assert.Single(((IEndpointRouteBuilder)map).DataSources.SelectMany(source => source.Endpoints));
            });
        Assert.Equal(1, made.Count);
        await using var device = await app.ConnectAsync();
        // The connect event creates a second instance of the filter.
        Assert.Equal(2, made.Count);
    }

    [Fact]
    public async Task EndpointFilter_OfRouteGroup_RunsOncePerHandshake()
    {
        var ran = 0;
        await using var app = await TestHosts.StartAsync(map: map =>
        {
            var group = map.MapGroup("/api");
            group.AddEndpointFilter((context, next) =>
            {
                Interlocked.Increment(ref ran);
                return next(context);
            });
            group.MapBroadcast("/ws");
        });
        await using var device = await app.ConnectAsync("/api/ws");
        Assert.Equal(1, ran);
    }

    [Fact]
    public async Task ConnectFilter_JoinsHomeGroupItself_AdmitsConnection()
    {
        await using var app = await TestHosts.StartAsync(broadcast: broadcast => broadcast.UseConnect(async (context, next) =>
        {
            Assert.True(await context.Broadcaster.JoinAsync(context.Connection.Id, context.Connection.HomeGroup, Token));
            await next(context);
        }));
        await using var device = await app.ConnectAsync();
        await device.SendAsync("x");
        Assert.Equal("x", await device.ReceiveTextAsync());
    }

    [Fact]
    public async Task ConnectFilter_SlowAfterNext_ResponsiveClientStaysConnected()
    {
        var time = new FakeTimeProvider();
        var release = new TaskCompletionSource();
        await using var app = await BroadcastApp.StartAsync(builder =>
        {
            builder.Services.AddSingleton<TimeProvider>(time);
            builder.Services.AddBroadcast().UseConnect(async (context, next) =>
            {
                await next(context);
                await release.Task;
            });
        });
        using var client = new ClientWebSocket();
        await client.ConnectAsync(new Uri($"ws://127.0.0.1:{app.Port}/ws"), Token);
        await Eventually.True(() => app.Registry.Connections.SingleOrDefault() is Connection { WasOpened: true });
        using var device = new Device(client, app.Registry.Connections.Single());
        var hearing = device.ReceiveTextAsync();
        for (var i = 0; i < 60; i++)
        {
            time.Advance(TimeSpan.FromSeconds(1));
            await device.SettleAsync();
        }

        release.SetResult();
        await device.SendAsync("still here");
        Assert.Equal("still here", await hearing);
    }

    sealed class Made
    {
        public int Count;
    }

    sealed class Counted : IBroadcastFilter
    {
        public Counted(Made made) => Interlocked.Increment(ref made.Count);
    }
}
