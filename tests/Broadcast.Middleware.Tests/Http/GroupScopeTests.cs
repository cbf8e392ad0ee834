using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests how the required host, the path base and <c>GroupScope</c> determine the group of a URL.</summary>
public sealed class GroupScopeTests
{
    [Fact]
    public async Task RequireHost_TwoHostsWithSamePath_HaveSeparateGroups()
    {
        await using var app = await BroadcastApp.StartAsync(map: map =>
        {
            map.MapBroadcast("/ws").RequireHost("a.example");
            map.MapBroadcast("/ws").RequireHost("b.example");
        });
        await using var a = await OpenAsync(app, "/ws", "a.example");
        await using var b = await OpenAsync(app, "/ws", "B.example:8080");

        await a.SendAsync(ClientFrame.CreateText("from a"));
        Assert.Equal("from a", (await a.ReadFrameAsync()).Text);
        await app.PublishToAsync(Recipients.Group("//b.example/ws"), "for b");

        Assert.Equal("for b", (await b.ReadFrameAsync()).Text);
        Assert.Equal(["//a.example/ws", "//b.example/ws"], HomeGroups(app));
    }

    [Fact]
    public async Task PathBase_TwoPathBasesWithSamePattern_HaveSeparateGroups()
    {
        await using var app = await BroadcastApp.StartAsync(map: map => MapWithPathBases(map, null));
        await using var one = await RawClient.OpenAsync(app, "/tenant1/rooms/blue");
        await using var two = await RawClient.OpenAsync(app, "/Tenant2/rooms/blue");
        await using var none = await RawClient.OpenAsync(app, "/rooms/blue");

        await one.SendAsync(ClientFrame.CreateText("from tenant 1"));
        Assert.Equal("from tenant 1", (await one.ReadFrameAsync()).Text);
        await app.PublishToAsync(Recipients.Group("/tenant2/rooms/blue"), "for tenant 2");
        Assert.Equal("for tenant 2", (await two.ReadFrameAsync()).Text);
        await app.PublishToAsync(Recipients.Group("/rooms/blue"), "for the URL without a path base");
        Assert.Equal("for the URL without a path base", (await none.ReadFrameAsync()).Text);

        Assert.Equal(["/rooms/blue", "/tenant1/rooms/blue", "/tenant2/rooms/blue"], HomeGroups(app));
    }

    [Fact]
    public async Task PathBase_EventStreamsOfTwoPathBases_HaveSeparateGroups()
    {
        await using var app = await BroadcastApp.StartAsync(map: map => MapWithPathBases(map, null));
        await using var one = await EventClient.OpenAsync(app, "/tenant1/rooms/blue");
        await using var two = await EventClient.OpenAsync(app, "/tenant2/rooms/blue");

        await app.PublishToAsync(Recipients.Group("/tenant1/rooms/blue"), "for tenant 1");
        await app.PublishToAsync(Recipients.Everyone, "for all");

        Assert.Equal(["for tenant 1", "for all"], await one.ReceiveTextAsync(2));
        Assert.Equal(["for all"], await two.ReceiveTextAsync(1));
    }

    [Theory]
    [InlineData("", "/rooms/blue")]
    [InlineData("shop", "shop/rooms/blue")]
    [InlineData("/shop", "/shop/rooms/blue")]
    public async Task GroupScope_SetForEndpoint_SharesGroupsOfPathBases(string scope, string group)
    {
        await using var app = await BroadcastApp.StartAsync(map: map => MapWithPathBases(map, scope));
        await using var one = await RawClient.OpenAsync(app, "/tenant1/rooms/blue");
        await using var two = await RawClient.OpenAsync(app, "/tenant2/rooms/blue");

        await one.SendAsync(ClientFrame.CreateText("hello"));

        Assert.Equal("hello", (await two.ReadFrameAsync()).Text);
        Assert.Equal([group, group], HomeGroups(app));
    }

    [Fact]
    public async Task GroupScope_SetForBroadcast_SharesGroupsOfHosts()
    {
        await using var app = await BroadcastApp.StartAsync(
            map: map =>
            {
                map.MapBroadcast("/ws").RequireHost("a.example");
                map.MapBroadcast("/ws").RequireHost("b.example");
                map.MapBroadcast("/ws", options => options.GroupScope = null).RequireHost("c.example");
            },
            options: options => options.GroupScope = "");
        await using var a = await OpenAsync(app, "/ws", "a.example");
        await using var b = await OpenAsync(app, "/ws", "b.example");
        await using var c = await OpenAsync(app, "/ws", "c.example");

        await a.SendAsync(ClientFrame.CreateText("from a"));

        Assert.Equal("from a", (await b.ReadFrameAsync()).Text);
        Assert.Equal(["//c.example/ws", "/ws", "/ws"], HomeGroups(app));
    }

    [Theory]
    [InlineData("a.example", "a.example", "//a.example/ws")]
    [InlineData("A.Example", "a.eXample:8080", "//a.example/ws")]
    [InlineData("a.example:8080", "a.example:8080", "//a.example:8080/ws")]
    [InlineData("a.example:80", "a.example", "//a.example:80/ws")]
    [InlineData("a.example:*", "a.example:8080", "//a.example/ws")]
    [InlineData("*.example", "X.y.example", "//x.y.example/ws")]
    [InlineData("*.example:8080", "x.example:8080", "//x.example:8080/ws")]
    [InlineData("*:8080", "x.example:8080", "//*:8080/ws")]
    [InlineData("*", "x.example", "/ws")]
    [InlineData("*.example|x.example", "x.example", "//x.example/ws")]
    [InlineData("*:8080|*.example|x.example", "y.example:8080", "//y.example/ws")]
    [InlineData("bücher.example", "xn--bcher-kva.example", "//bücher.example/ws")]
    public async Task HomeGroup_RequiredHost_StartsWithRequiredHost(string required, string host, string group)
    {
        await using var app = await BroadcastApp.StartAsync(map: map => map.MapBroadcast("/ws").RequireHost(required.Split('|')));
        await using var client = await OpenAsync(app, "/ws", host);
        Assert.Equal([group], HomeGroups(app));
    }

    [Fact]
    public async Task HomeGroup_RequiredHostAndPathBase_StartsWithHostThenPathBase()
    {
        await using var app = await BroadcastApp.StartAsync(map: map =>
        {
            map.UsePathBase("/tenant1");
            map.UseRouting();
            map.MapGroup("/api").RequireHost("a.example").MapBroadcast("/rooms/{room}");
        });
        await using var client = await OpenAsync(app, "/tenant1/api/rooms/blue", "a.example");
        Assert.Equal(["//a.example/tenant1/api/rooms/blue"], HomeGroups(app));
    }

    /// <summary>Tests an endpoint without a required host. The host that the client sends must not select the group.</summary>
    [Fact]
    public async Task HomeGroup_NoRequiredHost_IgnoresHost()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var one = await OpenAsync(app, "/ws", "a.example");
        await using var two = await OpenAsync(app, "/ws", "b.example");
        Assert.Equal(["/ws", "/ws"], HomeGroups(app));
    }

    [Fact]
    public async Task Path_StartsWithTwoSlashes_IsRefusedWithStatus400()
    {
        await using var app = await BroadcastApp.StartAsync(map: map =>
        {
            map.MapBroadcast("/ws").RequireHost("a.example");
            map.MapBroadcast("/{**path}");
        });
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync("//a.example/ws", ("Host", "b.example"));

        Assert.Equal(400, answer.Status);
        Assert.Contains("starts with two slashes", answer.Body, StringComparison.Ordinal);
        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task GroupName_TooLongWithPathBase_IsRefusedWithStatus400()
    {
        var pathBase = "/" + new string('t', 250);
        await using var app = await BroadcastApp.StartAsync(map: map =>
        {
            map.UsePathBase(pathBase);
            map.UseRouting();
            map.MapBroadcast("/rooms/{room}");
        });
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(400, (await client.HandshakeAsync(pathBase + "/rooms/blue")).Status);
    }

    [Theory]
    [InlineData("shop/", "GroupScope is 'shop/'. Remove the slash at the end.")]
    [InlineData("a\nb", "GroupScope is not a valid start of a group name. The group name contains the invalid character U+000A.")]
    public async Task GroupScope_Invalid_FailsAtStart(string scope, string problem)
    {
        var exception = await Assert.ThrowsAsync<OptionsValidationException>(
            () => BroadcastApp.StartAsync(map: map => map.MapBroadcast("/ws", options => options.GroupScope = scope)));
        Assert.StartsWith($"MapBroadcast(\"/ws\"): {problem}", Assert.Single(exception.Failures), StringComparison.Ordinal);
    }

    [Fact]
    public void GetName_NoScope_ReturnsSameInstance()
    {
        var name = new string("/ws");
        Assert.Same(name, new GroupNameScope(null, []).GetName(new DefaultHttpContext().Request, name));
    }

    static void MapWithPathBases(WebApplication app, string? scope)
    {
        app.UsePathBase("/tenant1");
        app.UsePathBase("/tenant2");
        app.UseRouting();
        app.MapBroadcast("/rooms/{room}", options => options.GroupScope = scope);
    }

    static async Task<RawClient> OpenAsync(BroadcastApp app, string path, string host)
    {
        var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync(path, ("Host", host))).Status);
        await client.JoinedAsync();
        return client;
    }

    static IEnumerable<string> HomeGroups(BroadcastApp app) =>
        app.Registry.Connections.Select(connection => connection.HomeGroup).Order(StringComparer.Ordinal);
}
