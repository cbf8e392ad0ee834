using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Tests the code of docs/guides/retained-values.md.</summary>
public sealed class RetainedDocumentationTests
{
    [Fact]
    public async Task Snippets_PlayersMoveAndLeave_LaterMemberReceivesOnlyLatestRetainedValues()
    {
        var options = WebApplication.CreateBuilder();
        RetainedSnippets.Options(options);
        await using var configured = options.Build();
        var groups = configured.Services.GetRequiredService<IOptions<BroadcastOptions>>().Value.Groups;
        await using var app = await BroadcastApp.StartAsync(options: all => all.Groups["/players"] = groups["/players"]);
        foreach (var id in new[] { "ann", "bob", "ann" }) await RetainedSnippets.PublishAsync(app.Broadcaster, id, 1, 2);
        await RetainedSnippets.RemoveAsync(app.Broadcaster, "bob");
        await using var client = await EventClient.OpenAsync(app);

        await app.Broadcaster.JoinAsync(app.Registry.Connections.Single().Id, "/players", TestContext.Current.CancellationToken);

        Assert.Equal(["""{"Id":"ann","X":1,"Y":2}"""], await client.ReceiveTextAsync(1));
    }

    [Fact]
    public async Task MapSnippet_MaxRetainedKeysReached_RepliesOnlyToSender()
    {
        await using var app = await BroadcastApp.StartAsync(
            map: RetainedSnippets.Map,
            options: static all => all.Groups["/players"] = new() { RetainLatestPerKey = true, MaxRetainedKeys = 1 });
        await using var ann = await RawClient.OpenAsync(app, "/players");
        await using var bob = await RawClient.OpenAsync(app, "/players");
        await ann.SendAsync(ClientFrame.CreateText("1"));
        foreach (var client in new[] { ann, bob }) Assert.Equal("1", (await client.ReadFrameAsync()).Text);

        await bob.SendAsync(ClientFrame.CreateText("2"));
        Assert.Equal("The game is full.", (await bob.ReadFrameAsync()).Text);

        await ann.SendAsync(ClientFrame.CreateText("3"));
        foreach (var client in new[] { ann, bob }) Assert.Equal("3", (await client.ReadFrameAsync()).Text);

        await ann.DisposeAsync();
        Assert.Equal("A player left.", (await bob.ReadFrameAsync()).Text);
        await bob.SendAsync(ClientFrame.CreateText("4"));
        Assert.Equal("4", (await bob.ReadFrameAsync()).Text);
    }
}
