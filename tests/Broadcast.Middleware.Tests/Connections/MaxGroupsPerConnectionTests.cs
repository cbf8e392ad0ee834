using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Connections;

public sealed class MaxGroupsPerConnectionTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Join_OverMaxGroupsPerConnection_FailsAndChangesNothing()
    {
        await using var app = await TestHosts.StartAsync(options: options => options.MaxGroupsPerConnection = 3);
        await using var device = await app.ConnectAsync();
        await app.Broadcaster.JoinAsync(device.Id, "a", Token);
        await app.Broadcaster.JoinAsync(device.Id, "b", Token);
        var error = await Assert.ThrowsAsync<InvalidOperationException>(async () => await app.Broadcaster.JoinAsync(device.Id, "c", Token));
        Assert.Equal("The connection is in 3 groups, the maximum of MaxGroupsPerConnection. Leave a group first, or raise the option.", error.Message);
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await app.Broadcaster.JoinAsync(device.Id, "c", Replay.Last(1), Token));
        Assert.Equal(["/ws", "a", "b"], device.Connection.Groups.Order(StringComparer.Ordinal));
        Assert.Equal(0, app.Registry.CountGroupMembers("c"));
        Assert.Equal(default, await app.Broadcaster.PublishAsync("lost", Recipients.Group("c"), cancellationToken: Token));

        // The connection is already a member of group b, so a repeated join is not an error. After a leave, the
        // connection can join another group.
        Assert.False(await app.Broadcaster.JoinAsync(device.Id, "b", Token));
        Assert.True(await app.Broadcaster.LeaveAsync(device.Id, "b", Token));
        Assert.True(await app.Broadcaster.JoinAsync(device.Id, "c", Token));
        await app.Broadcaster.PublishAsync("there", Recipients.Group("c"), cancellationToken: Token);
        Assert.Equal("there", await device.ReceiveTextAsync());
        Assert.Empty(app.Errors);
    }

    [Fact]
    public async Task Join_OverMaxGroupsPerConnection_RemovesNoHistory()
    {
        await using var app = await TestHosts.StartAsync(options: options =>
        {
            (options.MaxGroupsPerConnection, options.MaxEmptyGroups) = (1, 1);
            options.Groups["history/*"] = new() { HistoryMessages = 1 };
        });
        await using var full = await app.ConnectAsync();
        await app.Broadcaster.PublishAsync("kept", Recipients.Group("history/a"), cancellationToken: Token);

        await Assert.ThrowsAsync<InvalidOperationException>(async () => await app.Broadcaster.JoinAsync(full.Id, "history/b", Token));

        // If the refused join had created a second empty group, the server would have removed the history of the first group.
        await app.Broadcaster.LeaveAsync(full.Id, "/ws", Token);
        Assert.True((await app.Broadcaster.JoinAsync(full.Id, "history/a", Replay.Last(1), Token)).Joined);
        Assert.Equal("kept", await full.ReceiveTextAsync());
    }

    [Fact]
    public async Task Join_OverLimitInMessageFilter_ClosesOnlyThatConnection()
    {
        await using var app = await TestHosts.StartAsync(options: options => options.MaxGroupsPerConnection = 2, broadcast: broadcast =>
            broadcast.Use(async (context, _) => await context.Broadcaster.JoinAsync(context.Connection.Id, context.Text)));
        await using var greedy = await app.ConnectAsync();
        await using var other = await app.ConnectAsync();
        await greedy.SendAsync("a");
        await greedy.SendAsync("b");
        Assert.Equal((1011, CloseReasons.Failed), await greedy.ReceiveCloseAsync());
        await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == 1);
        await Eventually.True(() => app.Registry.CountGroupMembers("a") == 0);
        Assert.Equal(0, app.Registry.CountGroupMembers("b"));
        await app.Broadcaster.PublishAsync("still here", cancellationToken: Token);
        Assert.Equal("still here", await other.ReceiveTextAsync());
        Assert.Contains("MaxGroupsPerConnection", Assert.Single(app.Errors).Exception!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Join_InConnectFilterWithoutRoomForHomeGroup_ClosesOnlyThatConnection()
    {
        await using var app = await TestHosts.StartAsync(
            map: map => map.MapBroadcast("/{group}"),
            options: options => options.MaxGroupsPerConnection = 2,
            broadcast: broadcast => broadcast.UseConnect(async (context, next) =>
            {
                if (context.Connection.HomeGroup == "/greedy")
                {
                    await context.Broadcaster.JoinAsync(context.Connection.Id, "a");
                    await context.Broadcaster.JoinAsync(context.Connection.Id, "b");
                }

                await next(context);
            }));
        await using var other = await app.ConnectAsync("/modest");
        await using var greedy = await app.ConnectAsync("/greedy");
        Assert.Equal(1011, (await greedy.ReceiveCloseAsync()).Code);
        foreach (var group in new[] { "a", "b", "/greedy" }) await Eventually.True(() => app.Registry.CountGroupMembers(group) == 0);
        await app.Broadcaster.PublishAsync("still here", cancellationToken: Token);
        Assert.Equal("still here", await other.ReceiveTextAsync());
    }
}
