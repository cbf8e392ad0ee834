using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Routing.Patterns;

namespace Broadcast.Middleware.Tests.Http;

public sealed class GroupNameTemplateTests
{
    [Theory]
    [InlineData("/ws", "/ws", "/ws")]
    [InlineData("ws", "/ws", "/ws")]
    [InlineData("/ws", "/WS", "/ws")]
    [InlineData("/ws", "/ws/", "/ws")]
    [InlineData("/ws/", "/ws", "/ws")]
    [InlineData("/", "/", "/")]
    [InlineData("", "/", "/")]
    [InlineData("/a/b/c", "/A/b/C", "/a/b/c")]
    [InlineData("/rooms/{room}", "/rooms/blue", "/rooms/blue")]
    [InlineData("/rooms/{room}", "/ROOMS/Blue/", "/rooms/Blue")]
    [InlineData("/rooms/{room:int}", "/rooms/0042", "/rooms/0042")]
    [InlineData("/rooms/{room}", "/rooms/a%20b%C3%A4", "/rooms/a bä")]
    [InlineData("/rooms/{room}", "/rooms/a%2Fb", "/rooms/a%2Fb")]
    [InlineData("/rooms/{room}/chat", "/rooms/7/chat", "/rooms/7/chat")]
    [InlineData("/rooms/{room?}", "/rooms", "/rooms")]
    [InlineData("/rooms/{room?}", "/rooms/blue", "/rooms/blue")]
    [InlineData("/rooms/{room=lobby}", "/rooms", "/rooms/lobby")]
    [InlineData("/rooms/{room=lobby}", "/rooms/lobby", "/rooms/lobby")]
    [InlineData("{room?}", "/", "/")]
    [InlineData("/files/{name}.{extension}", "/files/a.b.txt", "/files/a.b.txt")]
    [InlineData("/files/{name}.{extension?}", "/files/a.txt", "/files/a.txt")]
    [InlineData("/files/{name}.{extension?}", "/files/a", "/files/a")]
    [InlineData("/from-{a}-to-{b}", "/from-x-to-y", "/from-x-to-y")]
    [InlineData("/all/{**rest}", "/all/x/y/z", "/all/x/y/z")]
    [InlineData("/all/{*rest}", "/all/x/y", "/all/x/y")]
    [InlineData("/all/{**rest}", "/all", "/all")]
    public async Task GroupName_PatternAndUrl_CombinesPatternLiteralsAndUrlValues(string pattern, string path, string group)
    {
        await using var host = await StartAsync(map => map.MapBroadcast(pattern));
        await using var device = await host.ConnectAsync(path);
        Assert.Equal(group, device.Connection.HomeGroup);
        Assert.Equal([group], device.Connection.Groups);
        Assert.Equal([device.Connection], host.Broadcaster.Connections.GetGroupMembers(group));
    }

    [Fact]
    public async Task RouteParameter_DifferentValues_HaveSeparateGroups()
    {
        await using var host = await StartAsync(map => map.MapBroadcast("/rooms/{room}"));
        await using var blue = await host.ConnectAsync("/rooms/blue");
        await using var red = await host.ConnectAsync("/rooms/red");
        await blue.SendAsync("for blue");
        Assert.Equal("for blue", await blue.ReceiveTextAsync());
        await red.SendAsync("for red");
        Assert.Equal("for red", await red.ReceiveTextAsync());
    }

    [Fact]
    public async Task GroupName_TooLong_IsRefusedWithStatus400()
    {
        await using var host = await StartAsync(map => map.MapBroadcast("/rooms/{room}"));
        var longest = new string('x', 255 - "/rooms/".Length);
        await using var device = await host.ConnectAsync("/rooms/" + longest);
        var refusal = await Assert.ThrowsAsync<BroadcastTestException>(() => host.ConnectAsync("/rooms/x" + longest));
        Assert.Equal(StatusCodes.Status400BadRequest, refusal.StatusCode);
        Assert.Equal(1, host.Broadcaster.Connections.Count);
    }

    [Theory]
    [InlineData("/rooms/a%0Ab")]
    [InlineData("/rooms/a%0D")]
    [InlineData("/rooms/%7F")]
    [InlineData("/rooms/%E2%80%A8")]
    public async Task GroupName_ControlOrLineSeparatorCharacter_IsRefusedWithStatus400(string path)
    {
        await using var host = await StartAsync(map => map.MapBroadcast("/rooms/{room}"));
        var refusal = await Assert.ThrowsAsync<BroadcastTestException>(() => host.ConnectAsync(path));
        Assert.Equal(StatusCodes.Status400BadRequest, refusal.StatusCode);
    }

    [Fact]
    public void GetName_PatternWithoutParameters_ReturnsSameInstance()
    {
        var template = new GroupNameTemplate(RoutePatternFactory.Parse("/a/b"));
        Assert.Same(template.GetName([]), template.GetName(new RouteValueDictionary { ["a"] = "c" }));
    }

    [Fact]
    public void GetName_NumberValue_UsesInvariantFormat()
    {
        var template = new GroupNameTemplate(RoutePatternFactory.Parse("/a/{x}"));
        Assert.Equal("/a/1.5", template.GetName(new RouteValueDictionary { ["x"] = 1.5 }));
    }

    static Task<BroadcastTestHost> StartAsync(Action<WebApplication> map) =>
        BroadcastTestHost.StartAsync(map: map, cancellationToken: TestContext.Current.CancellationToken);
}
