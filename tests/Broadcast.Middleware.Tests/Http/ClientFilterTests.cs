using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests subscription filters that clients choose or the app sets, with a real server and real clients.
/// </summary>
public sealed class ClientFilterTests
{
    static readonly (string Filter, string Problem)[] _tooLarge =
    [
        (new('a', 1_025), "The filter has 1025 characters. Use at most 1024 characters."),
        ("(((((((((a)))))))))", "Error in the filter at position 9: More than 8 nested levels. Simplify the filter."),
        ("not not not not not not not not not a", "Error in the filter at position 33: More than 8 nested levels. Simplify the filter."),
        ($"a in ({string.Join(',', Enumerable.Range(10, 65))})", "Error in the filter at position 199: More than 64 values. Simplify the filter."),
    ];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Url_WithFilter_DeliversOnlyMatchingMessages()
    {
        await using var app = await StartAsync();
        await using var raw = await RawClient.OpenAsync(app, "/ws?x=1&filter=region%20%3D%20eu");
        await using var json = await JsonClient.OpenAsync(app, "/ws?Filter=region+in+(us,'a%26b')");
        await using var events = await EventClient.OpenAsync(app, "/ws?filter=not%20region");
        await using var all = await RawClient.OpenAsync(app, "/ws?filter=");
        await PublishAsync(app, ("1", "eu"), ("2", "us"), ("3", null), ("4", "a&b"));
        await PublishAsync(app, Recipients.Everyone, ("5", "us"), ("6", null));
        await ReceivesAsync(raw, "1");
        await JsonClient.ReceivesAsync(json, JsonClient.FromServer("text", "\"2\""), JsonClient.FromServer("text", "\"4\""), JsonClient.FromServer("text", "\"5\""));
        Assert.Equal(["3", "6"], await events.ReceiveTextAsync(2));
        await ReceivesAsync(all, "1", "2", "3", "4", "5", "6");
        await raw.AssertOpenAsync();
    }

    [Theory]
    [InlineData("region%20%3D", "Error in the filter at position 9: Expected a value. Put other text in quotes.")]
    [InlineData("a&filter=b", "The URL has more than one filter. Combine the filters with 'and'.")]
    public async Task Url_InvalidFilter_IsRefusedWithStatus400(string filter, string problem)
    {
        await using var app = await StartAsync();
        await using var other = await RawClient.OpenAsync(app);
        await using var client = await RawClient.ConnectAsync(app);
        var answer = await client.HandshakeAsync("/ws?filter=" + filter);
        Assert.Equal((400, problem), (answer.Status, answer.Body.Trim()));
        await using var events = await EventClient.AskAsync(app, "/ws?filter=" + filter, headers: ("Accept", "text/event-stream"));
        Assert.Equal(400, events.Status);
        await PublishAsync(app, ("1", "eu"));
        await ReceivesAsync(other, "1");
        Assert.Equal(1, app.Registry.Count);
    }

    [Fact]
    public async Task Url_TooLargeFilter_IsRefusedWithStatus400()
    {
        await using var app = await StartAsync();
        await using var other = await RawClient.OpenAsync(app);
        foreach (var (filter, problem) in _tooLarge)
        {
            await using var client = await RawClient.ConnectAsync(app);
            var answer = await client.HandshakeAsync("/ws?filter=" + filter.Replace(' ', '+'));
            Assert.Equal((400, problem), (answer.Status, answer.Body.Trim()));
        }

        await PublishAsync(app, ("1", "eu"));
        await ReceivesAsync(other, "1");
    }

    [Fact]
    public async Task Url_FiltersNotAllowed_IgnoresParameter()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app, "/ws?filter=((my+own+parameter");
        await PublishAsync(app, ("1", "eu"));
        await ReceivesAsync(client, "1");
    }

    [Fact]
    public async Task Url_FiltersAllowedForOneEndpoint_AppliesFilterOnlyThere()
    {
        await using var app = await BroadcastApp.StartAsync(map: app =>
        {
            app.MapBroadcast("/ws", static options => options.AllowClientFilters = true);
            app.MapBroadcast("/other");
        });
        await using var filtered = await RawClient.OpenAsync(app, "/ws?filter=a");
        await using var other = await RawClient.OpenAsync(app, "/other?filter=a");
        await app.PublishAsync("untagged");
        await app.Broadcaster.PublishAsync(Message.FromText("tagged") with { Tags = MessageTags.Create(("a", "")) }, cancellationToken: Token);
        await ReceivesAsync(filtered, "tagged");
        await ReceivesAsync(other, "untagged", "tagged");
    }

    [Fact]
    public async Task SubscriptionFilters_OfConnectFilterAndUrl_BothApply()
    {
        await using var app = await StartAsync(app => app.MapBroadcast("/ws").UseConnect((context, next) =>
        {
            context.Filter = SubscriptionFilter.Parse("region in (eu, us)");
            return next(context);
        }));
        await using var client = await RawClient.OpenAsync(app, "/ws?filter=region%20!=%20us");
        await using var greedy = await RawClient.OpenAsync(app, "/ws?filter=region%20or%20not%20region");
        await PublishAsync(app, ("1", "eu"), ("2", "us"), ("3", "asia"), ("4", null));
        await PublishAsync(app, Recipients.Everyone, ("5", "asia"), ("6", "eu"));
        await ReceivesAsync(client, "1", "6");
        await ReceivesAsync(greedy, "1", "2", "6");
    }

    [Fact]
    public async Task UrlFilter_HomeGroupJoinedInConnectFilter_StillApplies()
    {
        await using var app = await StartAsync(app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
        {
            await context.JoinAsync("/ws", default, SubscriptionFilter.TagIn("region", "eu", "us"));
            await next(context);
        }));
        await using var client = await RawClient.OpenAsync(app, "/ws?filter=region%20!=%20us");
        await PublishAsync(app, ("1", "eu"), ("2", "us"), ("3", "asia"));
        await ReceivesAsync(client, "1");
        await client.AssertOpenAsync();
    }

    [Fact]
    public async Task JoinGroup_WithFilter_SelectsMessagesAndRejectsOtherFilter()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(client, """{"type":"joinGroup","group":"g","ackId":1,"filter":"region = eu"}""");
        await JsonClient.SucceedsAsync(client, 1);
        await PublishAsync(app, Recipients.Group("g"), ("1", "us"), ("2", "eu"));
        await JsonClient.ReceivesAsync(client, JsonClient.FromServer("text", "\"2\""));
        // A repeated join without a filter changes nothing.
        await JsonClient.SendTextAsync(client, """{"type":"joinGroup","group":"g","ackId":2,"filter":null}""");
        await JsonClient.SucceedsAsync(client, 2);
        await JsonClient.SendTextAsync(client, """{"type":"joinGroup","group":"g","ackId":3,"filter":"region = us"}""");
        Assert.Contains("leave the group and join it again", await FailsAsync(client, 3, "BadRequest"), StringComparison.Ordinal);
        await PublishAsync(app, Recipients.Group("g"), ("3", "us"), ("4", "eu"));
        await JsonClient.ReceivesAsync(client, JsonClient.FromServer("text", "\"4\""));
    }

    [Theory]
    [InlineData("\"region = \"", "Error in the filter at position 10: Expected a value.")]
    [InlineData("5", "filter must be a string.")]
    [InlineData("{\"a\":1}", "filter must be a string.")]
    public async Task JoinGroup_InvalidFilter_ReportsProblem(string filter, string problem)
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(client, $$"""{"type":"joinGroup","group":"g","filter":{{filter}},"ackId":1}""");
        Assert.Contains(problem, await FailsAsync(client, 1, "BadRequest"), StringComparison.Ordinal);
        Assert.Equal(0, app.Registry.CountGroupMembers("g"));
        await JsonClient.SendTextAsync(client, $$"""{"type":"joinGroup","group":"g","filter":{{filter}}}""");
        Assert.StartsWith(problem, await JsonClient.EndsAsync(client, 1008), StringComparison.Ordinal);
    }

    [Fact]
    public async Task JoinGroup_TooLargeFilter_ReportsProblemAndHarmsNoOtherClient()
    {
        await using var app = await StartAsync();
        await using var other = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(other, """{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.SucceedsAsync(other, 1);
        await using var client = await JsonClient.OpenAsync(app);
        foreach (var (filter, problem) in _tooLarge)
        {
            await JsonClient.SendTextAsync(client, $$"""{"type":"joinGroup","group":"g","filter":"{{filter}}","ackId":1}""");
            Assert.Contains(problem, await FailsAsync(client, 1, "BadRequest"), StringComparison.Ordinal);
            Assert.Equal(1, app.Registry.CountGroupMembers("g"));
        }

        await JsonClient.SendTextAsync(client, $$"""{"type":"joinGroup","group":"g","filter":"{{_tooLarge[0].Filter}}"}""");
        Assert.Equal(_tooLarge[0].Problem, await JsonClient.EndsAsync(client, 1008));
        await PublishAsync(app, Recipients.Group("g"), ("1", "eu"));
        await JsonClient.ReceivesAsync(other, Text("1"));
    }

    [Fact]
    public async Task JoinGroup_FiltersNotAllowed_IsForbidden()
    {
        await using var app = await BroadcastApp.StartAsync(builder => builder.Services.AddSingleton<IGroupAuthorizer>(Rules.AllowAll));
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(client, """{"type":"joinGroup","group":"g","filter":"a","ackId":1}""");
        Assert.Contains("AllowClientFilters", await FailsAsync(client, 1, "Forbidden"), StringComparison.Ordinal);
        Assert.Equal(0, app.Registry.CountGroupMembers("g"));
    }

    [Fact]
    public async Task JoinGroup_FilterOfAuthorizer_CannotBeWidened()
    {
        await using var app = await StartAsync(authorizer: new FilteringAuthorizer());
        await using var client = await JsonClient.OpenAsync(app);
        for (var ack = 1; ack <= 3; ack++)
        {
            await JsonClient.SendTextAsync(client, $$"""{"type":"joinGroup","group":"g","ackId":{{ack}},"filter":"{{(ack == 1 ? "region or not region" : "region != eu")}}"}""");
            await JsonClient.SucceedsAsync(client, ack);
            await PublishAsync(app, Recipients.Group("g"), ("1", "asia"), ("2", "us"), ("3", "eu"));
            await JsonClient.ReceivesAsync(client, ack == 1 ? [Text("2"), Text("3")] : [Text("2")]);
            await JsonClient.SendTextAsync(client, $$"""{"type":"leaveGroup","group":"g","ackId":{{10 + ack}}}""");
            await JsonClient.SucceedsAsync(client, 10 + ack);
        }
    }

    [Fact]
    public async Task Join_ByAppAfterJoinByClient_AppliesFilterOfApp()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(client, """{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.SucceedsAsync(client, 1);
        await PublishAsync(app, Recipients.Group("g"), ("1", "us"));
        var id = app.Registry.Connections.Single().Id;
        Assert.False((await app.Broadcaster.JoinAsync(id, "g", default, SubscriptionFilter.TagEquals("region", "eu"), Token)).Joined);
        await PublishAsync(app, Recipients.Group("g"), ("2", "us"), ("3", "eu"));
        await JsonClient.ReceivesAsync(client, Text("1"), Text("3"));
    }

    [Fact]
    public async Task LeaveAndJoin_ByClient_KeepsFilterOfApp()
    {
        await using var app = await StartAsync();
        await using var client = await JsonClient.OpenAsync(app);
        var id = app.Registry.Connections.Single().Id;
        Assert.True((await app.Broadcaster.JoinAsync(id, "g", default, SubscriptionFilter.TagEquals("region", "eu"), Token)).Joined);
        await JsonClient.SendTextAsync(client, """{"type":"leaveGroup","group":"g","ackId":1}""", """{"type":"joinGroup","group":"g","ackId":2,"filter":"region"}""");
        await JsonClient.SucceedsAsync(client, 1);
        await JsonClient.SucceedsAsync(client, 2);
        await PublishAsync(app, Recipients.Group("g"), ("1", "us"), ("2", "eu"));
        await JsonClient.ReceivesAsync(client, Text("2"));
    }

    /// <summary>Tests that the filters stay in effect on the next transport, whose URL has no filter.</summary>
    [Fact]
    public async Task Reconnect_WithoutFilterInUrl_KeepsFiltersAndMissesNothing()
    {
        var clock = new RecoveryClock();
        await using var app = await BroadcastApp.StartReliableAsync(clock, static options => options.AllowClientFilters = true, app => app.MapBroadcast("/ws").UseConnect((context, next) =>
        {
            context.Filter = SubscriptionFilter.TagIn("region", "eu", "us");
            return next(context);
        }));
        await using var first = await ReliableClient.OpenAsync(app, "/ws?filter=region%20!=%20us");
        await first.SendTextAsync("""{"type":"joinGroup","group":"g","ackId":1,"filter":"region = asia"}""");
        await JsonClient.SucceedsAsync(first.Transport, 1);
        await PublishAsync(app, ("1", "eu"), ("2", "us"));
        await first.ReceivesAsync("1");
        first.Disconnect();
        await PublishAsync(app, ("3", "us"), ("4", "eu"), ("5", "asia"));
        await PublishAsync(app, Recipients.Group("g"), ("6", "eu"), ("7", "asia"));
        await using var again = await first.ReconnectAsync(await ReliableClient.AskAsync(app, first.Id, first.Token, "/ws"));
        await again.ReceivesAsync("1", "4", "7");
        await PublishAsync(app, ("8", "us"), ("9", "eu"));
        await again.ReceivesAsync("9");
    }

    [Fact]
    public async Task EventStream_Reconnect_ContinuesAfterRejectedMessages()
    {
        var clock = new RecoveryClock();
        await using var app = await BroadcastApp.StartReliableAsync(clock, static options =>
        {
            options.AllowClientFilters = true;
            options.Groups["/ws"] = new() { HistoryMessages = 4 };
        });
        string last;
        await using (var first = await EventClient.OpenAsync(app, "/ws?filter=region%20=%20eu"))
        {
            await PublishAsync(app, ("1", "eu"), ("2", "us"));
            Assert.Equal(["1"], await first.ReceiveTextAsync(1));
            // The history keeps 4 messages, so it no longer contains message 2, the first message after event 1.
            await PublishAsync(app, ("3", "us"), ("4", "us"), ("5", "us"), ("6", "us"), ("7", "us"));
            await app.SettleAsync();
            clock.Advance(TimeSpan.FromSeconds(5));
            last = await first.ReadIdAsync(7);
        }

        await PublishAsync(app, ("8", "us"), ("9", "eu"));
        await using var again = await EventClient.OpenAsync(app, "/ws?filter=region%20=%20eu", after: last);
        // If the client did not have the ID of message 7, which the filter rejected, the server would first send the
        // event "missed".
        Assert.Equal(["9"], await again.ReceiveTextAsync(1));
    }

    /// <summary>A message filter of the app creates the tags from the text of the client, without a check.</summary>
    [Theory]
    [InlineData("no separator")]
    [InlineData("the space=in the key")]
    [InlineData("1=1,2=1,3=1,4=1,5=1,6=1,7=1,8=1,9=1,10=1,11=1,12=1,13=1,14=1,15=1,16=1,17=1")]
    public async Task MessageFilter_CreatesInvalidTags_ClosesOnlyConnectionOfSender(string text)
    {
        await using var app = await StartAsync(app => app.MapBroadcast("/ws").Use((context, next) =>
        {
            var tags = context.Text.Split(',').Select(tag => (tag.Split('=')[0], tag.Split('=').ElementAtOrDefault(1)!));
            context.Message = context.Message with { Tags = MessageTags.Create([.. tags]) };
            return next(context);
        }));
        await using var sender = await RawClient.OpenAsync(app);
        await using var other = await RawClient.OpenAsync(app, "/ws?filter=key");
        await sender.SendAsync(ClientFrame.CreateText(text));
        Assert.Equal((int)WebSocketCloseStatus.InternalServerError, await sender.ClosedWithAsync());
        var error = Assert.Single(app.Logs.GetSnapshot(), record => record.Exception is not null);
        Assert.IsAssignableFrom<ArgumentException>(error.Exception);
        await other.SendAsync(ClientFrame.CreateText("key=value"));
        await ReceivesAsync(other, "key=value");
    }

    [Fact]
    public async Task FilterDelegate_Throws_ClosesConnectionAndLogsException()
    {
        await using var app = await StartAsync(app => app.MapBroadcast("/ws").UseConnect((context, next) =>
        {
            if (context.HttpContext.Request.Query.ContainsKey("fails"))
                context.Filter = SubscriptionFilter.FromDelegate(static message => throw new InvalidOperationException("The rule has a bug."));
            return next(context);
        }));
        await using var failing = await RawClient.OpenAsync(app, "/ws?fails=1");
        await using var other = await RawClient.OpenAsync(app);
        await PublishAsync(app, ("1", "eu"));
        Assert.Equal((int)WebSocketCloseStatus.InternalServerError, await failing.ClosedWithAsync());
        await PublishAsync(app, ("2", "eu"));
        await ReceivesAsync(other, "1", "2");
        var error = Assert.Single(app.Logs.GetSnapshot(), record => record.Exception is not null);
        Assert.Equal("The rule has a bug.", error.Exception!.Message);
        Assert.Contains("the delegate of a subscription filter", error.Message, StringComparison.Ordinal);
    }

    static string Text(string data) => JsonClient.FromServer("text", $"\"{data}\"");

    static async Task<string> FailsAsync(RawClient client, int ackId, string error)
    {
        var answer = await JsonClient.ReadAsync(client);
        Assert.Contains($"\"ackId\":{ackId},\"success\":false,\"error\":{{\"name\":\"{error}\"", answer, StringComparison.Ordinal);
        return answer;
    }

    static async Task ReceivesAsync(RawClient client, params string[] messages)
    {
        foreach (var message in messages) Assert.Equal(message, (await client.ReadFrameAsync()).Text);
    }

    static Task PublishAsync(BroadcastApp app, params (string Text, string? Region)[] messages) => PublishAsync(app, Recipients.Group("/ws"), messages);

    static async Task PublishAsync(BroadcastApp app, Recipients recipients, params (string Text, string? Region)[] messages)
    {
        foreach (var (text, region) in messages)
        {
            var tags = region is null ? null : MessageTags.Create(("region", region));
            await app.Broadcaster.PublishAsync(Message.FromText(text) with { Tags = tags }, recipients, Token);
        }
    }

    static Task<BroadcastApp> StartAsync(Action<WebApplication>? map = null, IGroupAuthorizer? authorizer = null, Action<BroadcastOptions>? options = null) => BroadcastApp.StartAsync(
        builder => builder.Services.AddSingleton(authorizer ?? Rules.AllowAll),
        map,
        all =>
        {
            all.AllowClientFilters = true;
            options?.Invoke(all);
        });

    sealed class FilteringAuthorizer : IGroupAuthorizer
    {
        public ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation) => new(true);

        public ValueTask<SubscriptionFilter?> GetFilterAsync(IBroadcastConnection connection, string group) =>
            new(SubscriptionFilter.TagIn("region", "eu", "us"));
    }
}
