using Broadcast.Middleware.Tests.Wire;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Backplane;

/// <summary>Two apps, each with its server and its clients, that are one broadcast.</summary>
public sealed class TwoNodesTests
{
    readonly InMemoryCluster _cluster = new();

    [Fact]
    public async Task Who_is_connected_to_either_hears_what_is_sent_to_either()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        await using var ann = await RawClient.OpenAsync(one);
        await using var bob = await RawClient.OpenAsync(two);

        await ann.SendAsync(ClientFrame.OfText("from ann"));
        await HearAsync("from ann", ann, bob);
        await bob.SendAsync(ClientFrame.OfText("from bob"));
        await HearAsync("from bob", ann, bob);
        await one.Broadcaster.PublishAsync("to all", cancellationToken: TestContext.Current.CancellationToken);
        await HearAsync("to all", ann, bob);
    }

    [Fact]
    public async Task A_message_to_several_groups_reaches_a_member_of_both_once()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        await using var ann = await RawClient.OpenAsync(one);
        var id = one.Registry.Connections.Single().Id;
        await one.Broadcaster.JoinAsync(id, "blue", TestContext.Current.CancellationToken);
        await one.Broadcaster.JoinAsync(id, "red", TestContext.Current.CancellationToken);

        await two.Broadcaster.PublishAsync("once", Recipients.Groups("blue", "red", "/ws"), TestContext.Current.CancellationToken);
        await two.Broadcaster.PublishAsync("then", Recipients.Group("blue"), TestContext.Current.CancellationToken);
        await HearAsync("once", ann);
        await HearAsync("then", ann);
    }

    [Fact]
    public async Task A_client_recovers_on_the_node_where_it_was_not()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        var token = TestContext.Current.CancellationToken;
        var first = await one.Broadcaster.PublishAsync("1", Recipients.Group("/ws"), token);
        await two.Broadcaster.PublishAsync("2", Recipients.Group("/ws"), token);
        await two.Broadcaster.PublishAsync("3", Recipients.Group("/ws"), token);
        await using var ann = await RawClient.OpenAsync(two);
        Assert.True(await two.Broadcaster.LeaveAsync(two.Registry.Connections.Single().Id, "/ws", token));

        var joined = await two.Broadcaster.JoinAsync(two.Registry.Connections.Single().Id, "/ws", Replay.After(first.Position!.Value), token);

        Assert.Equal((true, true, first.Position), (joined.Joined, joined.Recovered, joined.Position));
        await HearAsync("2", ann);
        await HearAsync("3", ann);
    }

    [Fact]
    public async Task Who_may_have_missed_something_is_told()
    {
        await using var one = await StartAsync();
        await using var ann = await RawClient.OpenAsync(one);
        await one.Broadcaster.PublishAsync("before", cancellationToken: TestContext.Current.CancellationToken);

        _cluster.Forget();

        await HearAsync("before", ann);
        Assert.Equal(1013, (await ann.ReadCloseAsync()).CloseCode);
        await using var bob = await RawClient.OpenAsync(one);
        await one.Broadcaster.PublishAsync("after", cancellationToken: TestContext.Current.CancellationToken);
        await HearAsync("after", bob);
    }

    Task<BroadcastApp> StartAsync() => BroadcastApp.StartAsync(
        builder => builder.Services.AddBroadcast().AddInMemoryCluster(_cluster),
        options: options => options.Groups["/ws"] = new() { HistoryMessages = 100 });

    static async Task HearAsync(string text, params RawClient[] clients)
    {
        foreach (var client in clients) Assert.Equal(text, (await client.ReadFrameAsync()).Text);
    }
}
