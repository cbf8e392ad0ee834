using System.Collections.Concurrent;
using System.Net;
using System.Security.Claims;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features.Authentication;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>
/// Tests the properties of a connection. The properties must stay readable after the server has reused the request
/// object.
/// </summary>
public sealed class ConnectionPropertiesTests
{
    static readonly object ItemKey = new();

    [Fact]
    public async Task Properties_ServerReusedRequest_StayReadableInFilters()
    {
        HttpContext? request = null;
        IBroadcastConnection? connection = null;
        var seen = new ConcurrentQueue<Properties>();
        var app = await BroadcastApp.StartAsync(TestUsers.Add, map => map.MapBroadcast("/rooms/{room}")
            .UseConnect((context, next) =>
            {
                (request, connection) = (context.HttpContext, context.Connection);
                context.Connection.Items[ItemKey] = "item";
                return SeeAsync(context, next);
            })
            .Use(SeeAsync)
            .UseDisconnect(SeeAsync));
        await using var stopped = app;
        await using (var client = await RawClient.ConnectAsync(app))
        {
            Assert.Equal(101, (await client.HandshakeAsync("/rooms/blue", TestUsers.As("ann"))).Status);
            await client.JoinedAsync();
            // Without a handover, the request stays open, so the test simulates the reuse. After a handover, the server
            // itself has reused the request.
            if (TestPass.RequestsStayOpen) Recycle(request!);
            await client.SendAsync(ClientFrame.CreateText("x"));
            Assert.Equal("x", (await client.ReadFrameAsync()).Text);
            await client.LeaveAsync();
        }

        await app.DisposeAsync();
        var expected = new Properties("ann", "ann", IPAddress.Loopback, "blue", "item", "/rooms/blue");
        Assert.Equal([expected, expected, expected], seen);
        Assert.Equal(expected, Properties.From(connection!));
        Assert.Empty(connection!.Groups);

        Task SeeAsync<TContext>(TContext context, FilterDelegate<TContext> next) where TContext : FilterContext
        {
            seen.Enqueue(Properties.From(context.Connection));
            return next(context);
        }
    }

    [Fact]
    public async Task Items_SeveralConnections_AreSeparate()
    {
        await using var app = await TestHosts.StartAsync();
        await using var one = await app.ConnectAsync();
        await using var other = await app.ConnectAsync();
        one.Connection.Items[ItemKey] = 1;
        Assert.Empty(other.Connection.Items);
        Assert.Same(one.Connection.Items, one.Connection.Items);
    }

    [Fact]
    public async Task User_AnonymousClient_IsSamePrincipalAfterDisconnect()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        var user = device.Connection.User;
        await device.CloseAsync();
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.False(user.Identity!.IsAuthenticated);
        Assert.Same(user, device.Connection.User);
        Assert.Null(device.Connection.UserId);
        Assert.Empty(device.Connection.RouteValues);
    }

    /// <summary>Removes the data that a server removes from a request object before it reuses the object.</summary>
    static void Recycle(HttpContext request)
    {
        request.Request.RouteValues.Clear();
        request.Features.Set<IHttpAuthenticationFeature>(null);
        request.User = new ClaimsPrincipal();
        request.Connection.RemoteIpAddress = null;
        request.Items.Clear();
        request.RequestServices = null!;
    }

    sealed record Properties(string? UserName, string? UserId, IPAddress? Address, object? Room, object? Item, string HomeGroup)
    {
        public static Properties From(IBroadcastConnection connection) => new(
            connection.User.FindFirstValue(ClaimTypes.NameIdentifier), connection.UserId, connection.RemoteAddress,
            connection.RouteValues["room"], connection.Items[ItemKey], connection.HomeGroup);
    }
}
