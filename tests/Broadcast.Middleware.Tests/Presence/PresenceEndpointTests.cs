using System.Text;
using System.Text.Json;
using Broadcast.Middleware.Tests.Clustering;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Presence;

/// <summary>Tests the presence endpoints, which send the members of a group to clients.</summary>
public sealed class PresenceEndpointTests
{
    const string Path = "/rooms/blue/presence";

    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task WebSocket_MembersJoinChangeAndLeave_ReceivesSnapshotAndChanges()
    {
        await using var app = await StartAsync();
        await using var ann = await RawClient.OpenAsync(app, "/rooms/blue");
        var annsId = app.Registry.GetGroupMembers("/rooms/blue").Single().Id;
        await SetStateAsync(app, annsId, """{"name":"Ann"}""");
        await using var red = await RawClient.OpenAsync(app, "/rooms/red");
        await using var watcher = await WatchAsync(app);
        var picture = new MemberPicture(watcher);

        await picture.BecomesAsync((annsId, """{"name":"Ann"}"""));
        Assert.Equal((1, 1), (picture.Snapshots, picture.Messages));
        await using var bob = await RawClient.OpenAsync(app, "/rooms/blue");
        var bobsId = app.Registry.GetGroupMembers("/rooms/blue").Single(member => member.Id != annsId).Id;
        await picture.BecomesAsync((annsId, """{"name":"Ann"}"""), (bobsId, null));
        await SetStateAsync(app, bobsId, "[1.50]");
        await picture.BecomesAsync((annsId, """{"name":"Ann"}"""), (bobsId, "[1.50]"));
        await ann.LeaveAsync();
        await picture.BecomesAsync((bobsId, "[1.50]"));
        await bob.LeaveAsync();
        await picture.BecomesAsync();
        Assert.Equal(1, picture.Snapshots);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task WebSocket_EmptyGroup_ReceivesEmptySnapshot()
    {
        await using var app = await StartAsync();
        await using var watcher = await WatchAsync(app);
        Assert.Equal("""{"type":"snapshot","members":[]}""", await JsonClient.ReadAsync(watcher));
    }

    [Fact]
    public async Task EventStream_MemberJoins_ReceivesSnapshotAndChange()
    {
        await using var app = await StartAsync();
        await using var watcher = await EventClient.AskAsync(app, Path, headers: ("Accept", "text/event-stream"));
        var picture = new MemberPicture(watcher);
        await picture.BecomesAsync();
        await using var ann = await RawClient.OpenAsync(app, "/rooms/blue");
        await picture.BecomesAsync((app.Registry.Connections.Single().Id, null));
        await SetStateAsync(app, app.Registry.Connections.Single().Id, "{\n\"name\":\r\n\"Ann\"}");
        await picture.BecomesAsync((app.Registry.Connections.Single().Id, "{\n\"name\":\n\"Ann\"}"));
    }

    [Fact]
    public async Task PositionsProtocol_EmptyGroup_ReceivesSnapshotWithEmptyHeader()
    {
        await using var app = await StartAsync();
        await using var watcher = await WatchAsync(app, Path, ("Sec-WebSocket-Protocol", "positions.broadcast.v1"));
        Assert.StartsWith("joined ", await JsonClient.ReadAsync(watcher), StringComparison.Ordinal);
        Assert.Equal("\n{\"type\":\"snapshot\",\"members\":[]}", await JsonClient.ReadAsync(watcher));
    }

    [Fact]
    public async Task JsonProtocol_MemberJoins_ReceivesServerMessages()
    {
        await using var app = await StartAsync();
        await using var watcher = await WatchAsync(app, Path, JsonClient.Offers());
        await JsonClient.IdAsync(watcher);
        Assert.Equal(JsonClient.FromServer("json", """{"type":"snapshot","members":[]}"""), await JsonClient.ReadAsync(watcher));
        // The protocol context must forward OnPrivateLogRead to the sender. Otherwise, the sender would stop after the
        // first message.
        await JsonClient.ReceivesNothingElseAsync(watcher);
        for (var i = 0; i < 3; i++)
        {
            await using var member = await RawClient.OpenAsync(app, "/rooms/blue");
            var id = app.Registry.Connections.Single().Id;
            await JsonClient.ReceivesAsync(watcher, JsonClient.FromServer("json", $$"""{"type":"update","members":[{"id":"{{id}}"}]}"""));
            await member.LeaveAsync();
            await JsonClient.ReceivesAsync(watcher, JsonClient.FromServer("json", $$"""{"type":"update","members":[{"id":"{{id}}","left":true}]}"""));
        }

        await JsonClient.SendTextAsync(watcher, """{"type":"joinGroup","group":"/rooms/blue","ackId":1}""");
        await JsonClient.FailsAsync(watcher, 1, "Forbidden");
    }

    [Fact]
    public async Task ReliableProtocol_ClientReconnects_ReceivesNewSnapshot()
    {
        await using var app = await StartAsync();
        await using var ann = await RawClient.OpenAsync(app, "/rooms/blue");
        var annsId = app.Registry.Connections.Single().Id;
        await using var watcher = await ReliableClient.AskAsync(app, null, null, Path);
        using var connected = JsonDocument.Parse(await JsonClient.ReadAsync(watcher));
        Assert.Contains(annsId, await JsonClient.ReadAsync(watcher), StringComparison.Ordinal);
        watcher.Reset();
        await ann.LeaveAsync();
        await Eventually.True(() => app.Registry.Count == 0);

        await using var returned = await ReliableClient.AskAsync(
            app, connected.RootElement.GetProperty("connectionId").GetString(),
            connected.RootElement.GetProperty("reconnectionToken").GetString(), Path);
        Assert.Contains("reconnectionToken", await JsonClient.ReadAsync(returned), StringComparison.Ordinal);
        // A change that the client missed may arrive before or after the new snapshot.
        var snapshots = 0;
        var isEmpty = false;
        while (snapshots == 0 || !isEmpty)
        {
            using var message = JsonDocument.Parse(await JsonClient.ReadAsync(returned));
            var data = message.RootElement.GetProperty("data");
            if (data.GetProperty("type").GetString() == "snapshot") snapshots++;
            isEmpty = data.GetProperty("members").EnumerateArray().All(static member => member.TryGetProperty("left", out _));
        }
    }

    [Fact]
    public async Task SelectDelegate_ReturnsOtherValueOrNull_HidesUserIdsAndMembers()
    {
        await using var app = await StartAsync(map: app =>
        {
            app.MapBroadcast("/rooms/{room}");
            app.MapBroadcastPresence(
                "/rooms/{room}/presence", "/rooms/{room}",
                member => member.UserId switch
                {
                    "hidden" => null,
                    "broken" => throw new InvalidOperationException("The app cannot show this member."),
                    { } user => $"<{user[..1]}>",
                    null => "anonymous",
                },
                JsonContext.Default.String);
        });
        await using var watcher = await WatchAsync(app);
        var picture = new MemberPicture(watcher);
        var ids = new List<string>();
        var clients = new List<RawClient>();
        foreach (var user in (string?[])["hidden", "broken", "ann", null])
        {
            var client = await RawClient.ConnectAsync(app);
            clients.Add(client);
            Assert.Equal(101, (await client.HandshakeAsync("/rooms/blue", ("X-User", user))).Status);
            await client.JoinedAsync();
            ids.Add(app.Registry.Connections.Select(connection => connection.Id).Single(id => !ids.Contains(id)));
        }

        await picture.BecomesAsync((ids[2], "\"<a>\""), (ids[3], "\"anonymous\""));
        // The server sends no message when the state of a hidden member changes.
        await SetStateAsync(app, ids[0], "1");
        await clients[2].LeaveAsync();
        await picture.BecomesAsync((ids[3], "\"anonymous\""));
        Assert.Contains(app.Logs.GetSnapshot(), record => record.Level == LogLevel.Error && record.Exception?.Message == "The app cannot show this member.");
        foreach (var client in clients) await client.DisposeAsync();
    }

    [Theory]
    [InlineData("\u0001")]
    [InlineData("{\"a\":")]
    [InlineData("\"\\ud800\"")]
    [InlineData("{} {}")]
    public async Task State_NotJson_IsOmittedAndLogsNoError(string state)
    {
        await using var app = await StartAsync();
        await using var ann = await RawClient.OpenAsync(app, "/rooms/blue");
        var annsId = app.Registry.Connections.Single().Id;
        await SetStateAsync(app, annsId, state);
        await using var watcher = await WatchAsync(app);
        var picture = new MemberPicture(watcher);
        await picture.BecomesAsync((annsId, null));
        await SetStateAsync(app, annsId, "1");
        await picture.BecomesAsync((annsId, "1"));
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task PresenceClient_SendsMessage_IsClosedWithCode1008()
    {
        await using var app = await StartAsync();
        await using var watcher = await WatchAsync(app);
        await using var other = await WatchAsync(app);
        await watcher.SendAsync(ClientFrame.CreateText("hello"));

        Assert.Equal(1008, await watcher.ClosedWithAsync());
        Assert.Equal("""{"type":"snapshot","members":[]}""", await JsonClient.ReadAsync(other));
        await other.AssertOpenAsync();
    }

    [Fact]
    public async Task PresenceClient_Connected_IsNotInRegistryAndReceivesNoMessage()
    {
        await using var app = await StartAsync();
        await using var watcher = await WatchAsync(app);
        await using var ann = await RawClient.OpenAsync(app, "/rooms/blue");
        var picture = new MemberPicture(watcher);

        Assert.Equal(1, app.Registry.Count);
        await app.PublishAsync("to everyone");
        Assert.Equal("to everyone", (await ann.ReadFrameAsync()).Text);
        await picture.BecomesAsync((app.Registry.Connections.Single().Id, null));
        await watcher.AssertOpenAsync();
    }

    [Fact]
    public async Task RequireAuthorization_OnPresenceUrl_RefusesAnonymousClientWithStatus401()
    {
        await using var app = await StartAsync(map: app =>
        {
            app.MapBroadcast("/rooms/{room}");
            app.MapBroadcastPresence("/rooms/{room}/presence", "/rooms/{room}").RequireAuthorization();
        });
        await using var stranger = await RawClient.ConnectAsync(app);
        Assert.Equal(401, (await stranger.HandshakeAsync(Path)).Status);
        await using var ann = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await ann.HandshakeAsync(Path, TestUsers.As("ann"))).Status);
        Assert.Equal("""{"type":"snapshot","members":[]}""", await JsonClient.ReadAsync(ann));
    }

    [Fact]
    public async Task ConnectFilter_OnPresenceUrl_CanRefuseClient()
    {
        await using var app = await StartAsync(map: app =>
        {
            app.MapBroadcast("/rooms/{room}");
            app.MapBroadcastPresence("/rooms/{room}/presence", "/rooms/{room}").UseConnect((_, _) => Task.CompletedTask);
        });
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync(Path)).Status);
        Assert.Equal(1008, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task Watch_AllWatchersDisconnect_Stops()
    {
        await using var app = await StartAsync();
        var presence = app.Services.GetRequiredService<IPresence>();
        for (var i = 0; i < 3; i++)
        {
            await using (var one = await WatchAsync(app))
            await using (var two = await EventClient.AskAsync(app, Path, headers: ("Accept", "text/event-stream")))
            {
                await new MemberPicture(one).BecomesAsync();
                await new MemberPicture(two).BecomesAsync();
                Assert.Equal(1, Presences.Followed(presence));
            }

            await Eventually.True(() => Presences.Followed(presence) == 0);
        }
    }

    [Fact]
    public async Task PresenceUrl_RouteGroupAndOtherLetterCase_WatchesGroupOfBroadcastUrl()
    {
        await using var app = await StartAsync(map: app =>
        {
            var version = app.MapGroup("/v{number}");
            version.MapBroadcast("/Rooms/{Room:alpha}");
            version.MapBroadcastPresence("/presence/{room}", "/rooms/{room}");
        });
        await using var ann = await RawClient.OpenAsync(app, "/v1/rooms/blue");
        await using var watcher = await WatchAsync(app, "/v1/presence/blue");
        await new MemberPicture(watcher).BecomesAsync((app.Registry.GetGroupMembers("/v1/Rooms/blue").Single().Id, null));
    }

    [Fact]
    public async Task Cluster_MemberOnOtherNode_IsShown()
    {
        await using var one = await StartAsync(isCluster: true);
        await using var two = await StartAsync(isCluster: true);
        await using var watcher = await WatchAsync(one);
        var picture = new MemberPicture(watcher);
        await picture.BecomesAsync();
        await using var ann = await RawClient.OpenAsync(two, "/rooms/blue");
        var annsId = two.Registry.Connections.Single().Id;
        await picture.BecomesAsync((annsId, null));
        await SetStateAsync(one, annsId, "1");
        await picture.BecomesAsync((annsId, "1"));
        await ann.LeaveAsync();
        await picture.BecomesAsync();
    }

    [Fact]
    public async Task Cluster_UnreachableAtFirst_ClosesWithCode1013AndAcceptsLaterClient()
    {
        var backplane = new ManualBackplane();
        await using var app = await StartAsync(backplane: backplane);
        backplane.Failures[nameof(IBackplane.GetMembersAsync)] = new BackplaneException("Unreachable.");
        await using var early = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await early.HandshakeAsync(Path)).Status);
        Assert.Equal(1013, await early.ClosedWithAsync());

        backplane.Failures.Clear();
        await using var later = await WatchAsync(app);
        await new MemberPicture(later).BecomesAsync();
    }

    [Fact]
    public async Task Watchers_ManyMembersJoinAndLeave_SeeTheSameMembers()
    {
        const int Members = 40;
        await using var app = await StartAsync();
        var watchers = new List<RawClient>();
        for (var i = 0; i < 4; i++) watchers.Add(await WatchAsync(app));
        var members = new List<RawClient>();
        for (var i = 0; i < Members; i++)
        {
            members.Add(await RawClient.OpenAsync(app, "/rooms/blue"));
            if (i % 3 != 2) continue;
            await members[^2].LeaveAsync();
        }

        await Eventually.True(() => app.Registry.Count == Members - (Members / 3));
        foreach (var connection in app.Registry.Connections) await SetStateAsync(app, connection.Id, $"\"{connection.Id}\"");
        var expected = app.Registry.Connections.Select(static connection => (connection.Id, (string?)$"\"{connection.Id}\"")).ToArray();
        foreach (var watcher in watchers)
        {
            var picture = new MemberPicture(watcher);
            await picture.BecomesAsync(expected);
            Assert.Equal(1, picture.Snapshots);
            await watcher.DisposeAsync();
        }

        foreach (var member in members) await member.DisposeAsync();
    }

    [Fact]
    public void PresenceFeed_MembersJoinAndLeaveBetweenMessages_AreNotSent()
    {
        using var node = new TestEngine();
        var feeds = new PresenceFeeds(node.States, new MemberWriter(null, 1_000, new BroadcastLogger(Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance)), node.Time);
        var notified = new SemaphoreSlim(0);
        var subscription = new FeedSubscription("/g", _ => notified.Release());
        feeds.Subscribe(subscription);
        Assert.Equal("""{"type":"snapshot","members":[]}""", Next(advances: false));

        // The feed sent a message a moment ago, so it waits. After the wait, the feed sees only the result of the
        // following changes.
        var stays = node.Connect(node.Pumps[0], "/g", new ManualSink());
        for (var i = 0; i < 100; i++) node.Remove(node.Connect(node.Pumps[0], "/g", new ManualSink()));
        Assert.Equal($$"""{"type":"update","members":[{"id":"{{stays.Id}}"}]}""", Next(advances: true));

        feeds.Unsubscribe(subscription);
        Assert.Equal(0, feeds.Count);

        string Next(bool advances)
        {
            var message = "";
            while (message.Length == 0)
            {
                if (advances) node.Time.Advance(TimeSpan.FromSeconds(1));
                notified.Wait(TimeSpan.FromMilliseconds(5), Token);
                message = Encoding.UTF8.GetString(subscription.Feed.Take(subscription, 10_000, out var hasMore).Span);
                Assert.False(hasMore);
            }

            return message;
        }
    }

    /// <summary>Connects a client to the presence URL. The snapshot may arrive at any time.</summary>
    static async Task<RawClient> WatchAsync(BroadcastApp app, string path = Path, params (string Name, string? Value)[] headers)
    {
        var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync(path, headers)).Status);
        return client;
    }

    static async Task SetStateAsync(BroadcastApp app, string id, string state) =>
        Assert.True(await app.Services.GetRequiredService<IPresence>().SetStateAsync(id, "/rooms/blue", Encoding.UTF8.GetBytes(state), Token));

    Task<BroadcastApp> StartAsync(Action<WebApplication>? map = null, bool isCluster = false, IBackplane? backplane = null) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddAuthorization();
            if (isCluster) builder.Services.AddBroadcast().AddInMemoryCluster(_cluster);
            if (backplane is not null) builder.Services.AddBroadcast().AddBackplane(_ => backplane);
        },
        map ?? (static app =>
        {
            app.MapBroadcast("/rooms/{room}");
            app.MapBroadcastPresence("/rooms/{room}/presence", "/rooms/{room}");
        }));
}
