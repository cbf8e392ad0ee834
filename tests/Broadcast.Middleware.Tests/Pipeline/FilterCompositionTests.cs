using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests;

public sealed class FilterCompositionTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_filter_is_made_once_however_often_the_endpoints_are_listed()
    {
        var made = new Made();
        await using var app = await InMemoryApp.StartAsync(
            builder => builder.Services.AddSingleton(made),
            map =>
            {
                map.MapBroadcast("/ws").Use<Counted>();
                // As API explorers and the data sources of route groups do.
                for (var i = 0; i < 3; i++) Assert.Single(((IEndpointRouteBuilder)map).DataSources.SelectMany(source => source.Endpoints));
            });
        using var device = await app.ConnectAsync();
        Assert.Equal(1, made.Count);
    }

    [Fact]
    public async Task An_endpoint_filter_of_a_route_group_is_not_left_out()
    {
        var ran = 0;
        await using var app = await InMemoryApp.StartAsync(map: map =>
        {
            var group = map.MapGroup("/api");
            group.AddEndpointFilter((context, next) =>
            {
                Interlocked.Increment(ref ran);
                return next(context);
            });
            group.MapBroadcast("/ws");
        });
        using var device = await app.ConnectAsync("/api/ws");
        Assert.Equal(1, ran);
    }

    [Fact]
    public async Task A_connect_filter_that_joins_the_home_group_itself_refuses_nobody()
    {
        await using var app = await InMemoryApp.StartAsync(broadcast: broadcast => broadcast.UseConnect(async (context, next) =>
        {
            Assert.True(await context.Broadcaster.JoinAsync(context.Connection.Id, context.Connection.HomeGroup, Token));
            await next(context);
        }));
        using var device = new Device(await app.OpenAsync(), null!);
        await device.SendAsync("x");
        Assert.Equal("x", await device.HearAsync());
    }

    [Fact]
    public async Task A_connect_filter_that_takes_long_after_next_does_not_make_a_healthy_peer_look_lost()
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
        await Eventually.True(() => app.Registry.Connections.SingleOrDefault() is Connection { IsAttached: true });
        using var device = new Device(client, app.Registry.Connections.Single());
        var hearing = device.HearAsync();
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
