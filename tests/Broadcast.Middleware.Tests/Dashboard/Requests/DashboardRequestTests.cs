using System.Net;
using System.Security.Claims;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Dashboard.Requests;

/// <summary>Tests the answers to the requests of the dashboard page.</summary>
public sealed class DashboardRequestTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(""" "to":"group","name":"/ws" """)]
    [InlineData(""" "to":"everyone" """)]
    [InlineData(""" "to":"connection","name":"$id" """)]
    public async Task Publish_ToRecipients_ReachesClient(string recipients)
    {
        await using var app = await DashboardViewer.StartAppAsync();
        await using var viewer = await DashboardViewer.OpenAsync(app);
        await using var ann = await RawClient.OpenAsync(app);
        var id = app.Registry.Connections.Single().Id;
        var answer = await viewer.RequestAsync($""" "type":"publish",{recipients.Replace("$id", id, StringComparison.Ordinal)},"text":"hi" """);
        Assert.Equal("Published to 1 connection of this node.", answer.GetProperty("text").GetString());
        Assert.Equal("hi", (await ann.ReadFrameAsync()).Text);
        Assert.Contains(app.Logs.GetSnapshot(), static record => record.Message.StartsWith("Dashboard: 127.0.0.1 published a message of 2 bytes", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Close_Connection_SendsCodeAndReason()
    {
        await using var app = await DashboardViewer.StartAppAsync();
        await using var viewer = await DashboardViewer.OpenAsync(app);
        await using var ann = await RawClient.OpenAsync(app);
        var id = app.Registry.Connections.Single().Id;
        var answer = await viewer.RequestAsync($""" "type":"close","name":"{id}","code":4001,"reason":"moved" """);
        Assert.Equal("done", answer.GetProperty("type").GetString());
        var close = await ann.ReadCloseAsync();
        Assert.Equal((4001, "moved"), (close.CloseCode, close.CloseReason));
        Assert.Contains(app.Logs.GetSnapshot(), record => record.Message == $"Dashboard: 127.0.0.1 closed connection {id} with close code 4001.");
    }

    [Theory]
    [InlineData("hello", "Send a JSON object")]
    [InlineData("null", "Send a JSON object")]
    [InlineData("""{"id":"x"}""", "Send a JSON object")]
    [InlineData("""{"type":"drop"}""", "Use groups, group, nodes, publish or close.")]
    [InlineData("""{"type":"publish","to":"group","text":"hi"}""", "Enter the name of a group")]
    [InlineData("""{"type":"publish","to":"all","name":"x","text":"hi"}""", "Use everyone, group, user or connection.")]
    [InlineData("""{"type":"publish","to":"everyone"}""", "Enter a text.")]
    [InlineData("""{"type":"publish","to":"group","name":"a\u0000","text":"hi"}""", "U+0000. Remove this character.")]
    [InlineData("""{"type":"group","name":"\u0001node:x"}""", "U+0001. Remove this character.")]
    [InlineData("""{"type":"close"}""", "Enter an ID")]
    [InlineData("""{"type":"close","name":"nobody"}""", "No connection has this ID.")]
    [InlineData("""{"type":"close","name":"nobody","code":1006}""", "1006")]
    public async Task Request_Invalid_GetsProblemAndViewerStaysConnected(string request, string problem)
    {
        await using var app = await DashboardViewer.StartAppAsync();
        await using var viewer = await DashboardViewer.OpenAsync(app);
        var text = await viewer.GetProblemAsync(ClientFrame.CreateText(request));
        Assert.Contains(problem, text, StringComparison.Ordinal);
        Assert.DoesNotContain("Parameter '", text, StringComparison.Ordinal);
        Assert.Equal("groups", (await viewer.RequestAsync(""" "type":"groups" """)).GetProperty("type").GetString());
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Request_RegistryThrows_GetsProblemAndLogsError()
    {
        await using var app = await DashboardViewer.StartAppAsync(static builder => builder.Services.AddSingleton<IConnectionRegistry>(
            new FaultyRegistry { OnFind = static _ => throw new InvalidOperationException("registry") }));
        await using var viewer = await DashboardViewer.OpenAsync(app);
        var answer = await viewer.RequestAsync(""" "type":"group","name":"/ws" """);
        Assert.Contains("The log of the server contains the error.", answer.GetProperty("text").GetString(), StringComparison.Ordinal);
        Assert.Contains(app.Logs.GetSnapshot(), static record => record.Exception?.Message == "registry");
        Assert.Equal("groups", (await viewer.RequestAsync(""" "type":"groups" """)).GetProperty("type").GetString());
    }

    [Fact]
    public async Task Groups_WithOrWithoutSearch_ReturnsLargestGroupsFirst()
    {
        await using var app = await DashboardViewer.StartAppAsync();
        await using var viewer = await DashboardViewer.OpenAsync(app);
        Assert.Equal(0, (await viewer.RequestAsync(""" "type":"group","name":"" """)).GetProperty("total").GetInt32());
        await using var ann = await RawClient.OpenAsync(app, "/rooms/blue");
        await using var bob = await RawClient.OpenAsync(app, "/rooms/blue");
        await using var cid = await RawClient.OpenAsync(app, "/rooms/red");
        var id = app.Registry.GetGroupMembers("/rooms/red").Single().Id;
        for (var i = 0; i < 60; i++) await app.Broadcaster.JoinAsync(id, $"g{i}", Token);
        var all = await viewer.RequestAsync(""" "type":"groups" """);
        Assert.Equal((62, 50), (all.GetProperty("total").GetInt32(), all.GetProperty("groups").GetArrayLength()));
        var largest = all.GetProperty("groups")[0];
        Assert.Equal(("/rooms/blue", 2), (largest.GetProperty("name").GetString(), largest.GetProperty("members").GetInt32()));
        var found = await viewer.RequestAsync(""" "type":"groups","search":"ROOMS/" """);
        Assert.Equal(["/rooms/blue", "/rooms/red"], found.GetProperty("groups").EnumerateArray().Select(static group => group.GetProperty("name").GetString()!));
        var everyone = await viewer.RequestAsync(""" "type":"group","name":"" """);
        Assert.Equal((3, 3), (everyone.GetProperty("total").GetInt32(), everyone.GetProperty("members").GetArrayLength()));
    }

    [Fact]
    public async Task Group_WithHistory_ShowsNewestMessagesFirst()
    {
        await using var app = await DashboardViewer.StartAppAsync(options: static all => all.Groups["/rooms/*"] = new() { HistoryMessages = 30 });
        await using var viewer = await DashboardViewer.OpenAsync(app);
        for (var i = 1; i <= 25; i++) await app.Broadcaster.PublishAsync($"m{i}", Recipients.Group("/rooms/blue"), key: i == 25 ? "k" : null, cancellationToken: Token);
        var group = await viewer.RequestAsync(""" "type":"group","name":"/rooms/blue" """);
        var messages = group.GetProperty("messages").EnumerateArray().ToArray();
        Assert.Equal(Enumerable.Range(6, 20).Reverse().Select(static i => $"m{i}"), messages.Select(static message => message.GetProperty("text").GetString()!));
        Assert.Equal((25, "k"), (messages[0].GetProperty("offset").GetInt64(), messages[0].GetProperty("key").GetString()));
        Assert.InRange(
            messages[0].GetProperty("time").GetInt64(),
            TimeProvider.System.GetUtcNow().AddMinutes(-10).ToUnixTimeMilliseconds(),
            TimeProvider.System.GetUtcNow().AddMinutes(1).ToUnixTimeMilliseconds());
    }

    [Fact]
    public async Task Group_LargeMessages_AreCutBetweenCharacters()
    {
        await using var app = await DashboardViewer.StartAppAsync(options: static all =>
        {
            all.Groups["/rooms/*"] = new() { HistoryMessages = 10, HistoryBytes = 8 * 1024 * 1024 };
            all.MaxBacklogBytes = 4 * 1024 * 1024;
        });
        await using var viewer = await DashboardViewer.OpenAsync(app);
        await app.Broadcaster.PublishAsync("x" + new string('ä', 524_288), Recipients.Group("/rooms/blue"), cancellationToken: Token);
        await app.Broadcaster.PublishAsync(new byte[1024 * 1024], Recipients.Group("/rooms/blue"), cancellationToken: Token);
        var messages = (await viewer.RequestAsync(""" "type":"group","name":"/rooms/blue" """)).GetProperty("messages");
        Assert.Equal(new string('0', 1024), messages[0].GetProperty("text").GetString());
        Assert.Equal("x" + new string('ä', 2047), messages[1].GetProperty("text").GetString());
        Assert.Equal((true, true, 1_048_577), (messages[0].GetProperty("isCut").GetBoolean(), messages[1].GetProperty("isCut").GetBoolean(), messages[1].GetProperty("size").GetInt32()));
    }

    [Fact]
    public async Task Group_With100000Members_ReturnsOnePageAndTotal()
    {
        const int Members = 100_000;
        await using var app = await DashboardViewer.StartAppAsync();
        await using var viewer = await DashboardViewer.OpenAsync(app);
        for (var i = 0; i < Members; i++)
        {
            var member = new IdleConnection(i);
            Assert.True(app.Registry.TryAdd(member) && app.Registry.TryJoin(member, "/big"));
        }

        Assert.Equal(100, app.Registry.GetGroupMembers("/big").Take(100).Count());
        var before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Equal(100, app.Registry.GetGroupMembers("/big").Take(100).Count());
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 16 * 1024);

        var group = await viewer.RequestAsync(""" "type":"group","name":"/big" """);
        Assert.Equal((Members, 100), (group.GetProperty("total").GetInt32(), group.GetProperty("members").GetArrayLength()));
        Assert.InRange(group.GetRawText().Length, 100, 100 * 1024);
    }

    [Fact]
    public async Task UserId_LongerThan200Characters_IsShortenedInAnswer()
    {
        await using var app = await DashboardViewer.StartAppAsync(TestUsers.Add);
        await using var viewer = await DashboardViewer.OpenAsync(app);
        await using var ann = await RawClient.OpenAsync(app, TestUsers.As(new string('x', 5000)));
        var member = (await viewer.RequestAsync(""" "type":"group","name":"/ws" """)).GetProperty("members")[0];
        Assert.Equal(new string('x', 200) + "…", member.GetProperty("user").GetString());
    }

    [Fact]
    public async Task Nodes_TwoNodes_ListEachOtherUntilOneStops()
    {
        var cluster = new InMemoryCluster();
        await using var one = await StartAsync();
        var two = await StartAsync();
        await using var ann = await RawClient.OpenAsync(one);
        await using var viewer = await DashboardViewer.OpenAsync(one);
        Assert.True((await viewer.ReadAsync("hello")).GetProperty("isCluster").GetBoolean());
        var nodes = await GetNodesAsync();
        Assert.Equal(2, nodes.Length);
        var own = Assert.Single(nodes, static node => node.GetProperty("isThis").GetBoolean());
        Assert.Equal(1, own.GetProperty("connections").GetInt32());
        await two.DisposeAsync();
        Assert.Single(await GetNodesAsync());

        var group = await viewer.RequestAsync(""" "type":"group","name":"/ws" """);
        Assert.Equal(1, group.GetProperty("clusterTotal").GetInt64());

        Task<BroadcastApp> StartAsync() => DashboardViewer.StartAppAsync(builder => builder.Services.AddSingleton<IBackplane>(cluster.CreateNode()));

        async Task<JsonElement[]> GetNodesAsync() =>
            [.. (await viewer.RequestAsync(""" "type":"nodes" """)).GetProperty("nodes").EnumerateArray()];
    }

    [Fact]
    public async Task Nodes_TwoDashboards_ListNodeOnce()
    {
        await using var app = await BroadcastApp.StartAsync(
            static builder =>
            {
                DashboardViewer.InDevelopment(builder);
                builder.Services.AddSingleton(new InMemoryCluster().CreateNode());
            },
            static app =>
            {
                app.MapBroadcastDashboard("/broadcast");
                app.MapBroadcastDashboard("/other");
            });
        await using var viewer = await DashboardViewer.OpenAsync(app);
        var nodes = (await viewer.RequestAsync(""" "type":"nodes" """)).GetProperty("nodes");
        Assert.True(Assert.Single(nodes.EnumerateArray()).GetProperty("isThis").GetBoolean());
    }

    sealed class IdleConnection(int number) : IBroadcastConnection
    {
        static readonly ClaimsPrincipal _anonymous = new();

        public string Id { get; } = $"connection {number}";
        public ClaimsPrincipal User => _anonymous;
        public string? UserId => null;
        public IPAddress? RemoteAddress => null;
        public IReadOnlyDictionary<string, object?> RouteValues => new Dictionary<string, object?>();
        public string HomeGroup => "/big";
        public IReadOnlyCollection<string> Groups => [HomeGroup];
        public DateTimeOffset ConnectedAt => default;
        public IDictionary<object, object?> Items => new Dictionary<object, object?>();
        public CancellationToken ConnectionAborted => default;
    }
}
