using System.Runtime.CompilerServices;
using System.Net.WebSockets;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests clients that set group states and subscribe to them, on a real server.</summary>
public sealed class GroupStateTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task SubscribeGroupState_GroupWithStates_SendsSnapshotThenUpdates()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(configure: builder => builder.Services.AddSingleton<TimeProvider>(time));
        var (ann, annId) = await OpenAsync(app, "ann");
        var (bob, bobId) = await OpenAsync(app);
        var (eve, eveId) = await OpenAsync(app);
        await using var _ = ann;
        await using var __ = bob;
        await using var ___ = eve;
        await DoAsync(ann, Join("g"), Set("g", """{"k":"v"}"""));
        await DoAsync(bob, Join("g"));
        var annAt = time.GetUtcNow();
        time.Advance(TimeSpan.FromMilliseconds(1234));

        // The acknowledgement comes before the snapshot. The snapshot omits members without a state.
        await JsonClient.SendTextAsync(eve, """{"type":"subscribeGroupState","group":"g","ackId":1}""");
        await JsonClient.ReceivesAsync(eve, JsonClient.Success(1), StatePicture.Snapshot("g", StatePicture.CreateItem(annId, "ann", """{"k":"v"}""", annAt)));

        await DoAsync(bob, Set("g", """{ "a": "\u0041\"", "é😀": "" }"""));
        var bobAt = time.GetUtcNow();
        await JsonClient.ReceivesAsync(eve, StatePicture.Update("g", StatePicture.CreateItem(bobId, null, """{ "a": "\u0041\"", "é😀": "" }""", bobAt)));
        time.Advance(TimeSpan.FromMilliseconds(1));
        await DoAsync(bob, Set("g", "{}"));
        await JsonClient.ReceivesAsync(eve, StatePicture.Update("g", StatePicture.CreateItem(bobId, null, "{}", time.GetUtcNow())));
        time.Advance(TimeSpan.FromMilliseconds(1));
        await DoAsync(bob, Set("g", "{}"));
        await JsonClient.ReceivesAsync(eve, StatePicture.Update("g", StatePicture.CreateItem(bobId, null, "{}", time.GetUtcNow())));

        // A client clears its state when it omits the state, sends null, leaves the group, or disconnects.
        time.Advance(TimeSpan.FromMilliseconds(1));
        await DoAsync(bob, """{"type":"setGroupState","group":"g","ackId":0}""");
        await JsonClient.ReceivesAsync(eve, StatePicture.Update("g", StatePicture.CreateItem(bobId, null, null, time.GetUtcNow())));
        await DoAsync(ann, Set("g", "null"));
        await JsonClient.ReceivesAsync(eve, StatePicture.Update("g", StatePicture.CreateItem(annId, "ann", null, time.GetUtcNow())));
        await DoAsync(bob, Set("g", """{"b":"1"}"""));
        await JsonClient.ReceivesAsync(eve, StatePicture.Update("g", StatePicture.CreateItem(bobId, null, """{"b":"1"}""", time.GetUtcNow())));
        time.Advance(TimeSpan.FromMilliseconds(1));
        await DoAsync(bob, """{"type":"leaveGroup","group":"g","ackId":0}""");
        await JsonClient.ReceivesAsync(eve, StatePicture.Update("g", StatePicture.CreateItem(bobId, null, null, time.GetUtcNow())));
        await DoAsync(ann, Set("g", """{"a":"1"}"""));
        await JsonClient.ReceivesAsync(eve, StatePicture.Update("g", StatePicture.CreateItem(annId, "ann", """{"a":"1"}""", time.GetUtcNow())));
        ann.Reset();
        await JsonClient.ReceivesAsync(eve, StatePicture.Update("g", StatePicture.CreateItem(annId, "ann", null, time.GetUtcNow())));

        // A subscriber also receives its own state. After the subscriber leaves and joins again, it has no state.
        await DoAsync(eve, Join("g"));
        await JsonClient.SendTextAsync(eve, """{"type":"setGroupState","group":"g","state":{"me":"1"}}""");
        await JsonClient.ReceivesAsync(eve, StatePicture.Update("g", StatePicture.CreateItem(eveId, null, """{"me":"1"}""", time.GetUtcNow())));
        await JsonClient.SendTextAsync(eve, """{"type":"leaveGroup","group":"g"}""", Join("g"));
        string[] received = [await JsonClient.ReadAsync(eve), await JsonClient.ReadAsync(eve)];
        Assert.Equal([JsonClient.Success(0), StatePicture.Update("g", StatePicture.CreateItem(eveId, null, null, time.GetUtcNow()))], received.Order(StringComparer.Ordinal));
        await JsonClient.ReceivesNothingElseAsync(eve);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task SetGroupState_ByMember_IsVisibleInPresence()
    {
        await using var app = await StartAsync();
        var (client, id) = await OpenAsync(app, "ann");
        await using var _ = client;
        var presence = app.Services.GetRequiredService<IPresence>();
        await DoAsync(client, Join("g"), Set("g", """{"k":"v"}"""));
        var member = Assert.Single(await presence.GetMembersAsync("g", Token));
        Assert.Equal((id, "ann", """{"k":"v"}"""), (member.ConnectionId, member.UserId, Encoding.UTF8.GetString(member.State.Span)));
        await DoAsync(client, Set("g", "null"));
        Assert.Equal(0, Assert.Single(await presence.GetMembersAsync("g", Token)).State.Length);
    }

    [Fact]
    public async Task SetGroupState_NonMemberOrTooLarge_IsRejected()
    {
        await using var app = await StartAsync(options: options => options.MaxPresenceStateBytes = 20);
        var (client, _) = await OpenAsync(app);
        await using var __ = client;
        await JsonClient.SendTextAsync(client, Set("g", """{"k":"v"}""", 1), Set("g", "null", 2), Join("g"));
        await JsonClient.FailsAsync(client, 1, "Forbidden");
        await JsonClient.FailsAsync(client, 2, "Forbidden");
        await JsonClient.SucceedsAsync(client, 0);

        await JsonClient.SendTextAsync(client, Set("g", """{"k":"12345678901234"}""", 3), Set("g", """{"k":"123456789012"}""", 4), Subscribe("g", 5));
        await JsonClient.ReceivesAsync(
            client,
            """{"type":"ack","ackId":3,"success":false,"error":{"name":"BadRequest","message":"The state has 22 bytes, but MaxPresenceStateBytes is 20. Shorten the state, or raise the option."}}""",
            JsonClient.Success(4), JsonClient.Success(5));
        var picture = new StatePicture("g");
        picture.Apply(await JsonClient.ReadAsync(client));
        Assert.Equal("""{"k":"123456789012"}""", Assert.Single(picture.Members).State);

        // A rejected state changes nothing, with or without an ackId.
        await JsonClient.SendTextAsync(client, $$$"""{"type":"setGroupState","group":"g","state":{"k":"{{{new string('x', 60_000)}}}"}}""");
        await JsonClient.ReceivesNothingElseAsync(client);
        Assert.Equal(20, Assert.Single(await app.Services.GetRequiredService<IPresence>().GetMembersAsync("g", Token)).State.Length);
    }

    [Theory]
    [InlineData("1")]
    [InlineData("\"text\"")]
    [InlineData("true")]
    [InlineData("[]")]
    [InlineData("""["a"]""")]
    [InlineData("""{"k":1}""")]
    [InlineData("""{"k":null}""")]
    [InlineData("""{"k":"v","l":true}""")]
    [InlineData("""{"k":{"l":"v"}}""")]
    [InlineData("""{"k":["v"]}""")]
    [InlineData("""{"k":"\ud800"}""")]
    [InlineData("""{"\udc00":"v"}""")]
    public async Task SetGroupState_NotAnObjectOfStrings_IsRejected(string state)
    {
        await using var app = await StartAsync();
        var (client, _) = await OpenAsync(app);
        await using var __ = client;
        await DoAsync(client, Join("g"), Set("g", """{"k":"v"}"""));
        await JsonClient.SendTextAsync(client, Set("g", state, 1));
        await JsonClient.ReceivesAsync(
            client,
            """{"type":"ack","ackId":1,"success":false,"error":{"name":"BadRequest","message":"state must be a JSON object whose values are all strings."}}""");
        Assert.Equal("""{"k":"v"}""", await StateAsync(app));
        await JsonClient.SendTextAsync(client, $$"""{"type":"setGroupState","group":"g","state":{{state}}}""");
        Assert.Equal("state must be a JSON object whose values are all strings.", await JsonClient.EndsAsync(client, 1008));
    }

    /// <summary>Tests a client whose state is valid JSON, but not of the type that the app expects.</summary>
    [Fact]
    public async Task SetGroupState_NotOfTypeOfApp_AppGetsProblemAndOtherClientContinues()
    {
        await using var app = await StartAsync();
        var (client, id) = await OpenAsync(app);
        var (other, otherId) = await OpenAsync(app);
        await using var _ = client;
        await using var __ = other;
        await DoAsync(other, Join("g"));
        await SubscribeAsync(app, other, otherId, "g");
        await DoAsync(client, Join("g"), Set("g", """{"Name":"Ann","Score":"many"}"""));

        var members = await app.Services.GetRequiredService<IPresence>().GetMembersAsync("g", Token);
        var member = members.Single(member => member.ConnectionId == id);
        Assert.False(member.TryGetState(Presence.TypedStateTests.StateJson.Default.Player, out var player, out var problem));
        Assert.Contains("Path: $.Score", problem, StringComparison.Ordinal);
        var picture = new StatePicture("g");
        picture.Apply(StatePicture.Snapshot("g"));
        await picture.ReadUntilAsync(other, () => picture[id] == """{"Name":"Ann","Score":"many"}""");
        await app.PublishToAsync(Recipients.Group("g"), "next");
        await JsonClient.ReceivesAsync(other, JsonClient.FromServer("text", "\"next\""));
    }

    [Fact]
    public async Task SetGroupState_TooDeep_IsRejected()
    {
        await using var app = await StartAsync();
        var (client, _) = await OpenAsync(app);
        await using var __ = client;
        await JsonClient.SendTextAsync(client, Set("g", Deep(60), 1));
        await JsonClient.FailsAsync(client, 1, "BadRequest");
        // The parser stops at the maximum depth, and the server closes the connection.
        await JsonClient.SendTextAsync(client, Set("g", Deep(5_000), 2));
        await JsonClient.EndsAsync(client, 1008);

        static string Deep(int depth) => string.Concat(Enumerable.Repeat("{\"k\":", depth)) + "\"v\"" + new string('}', depth);
    }

    [Theory]
    [InlineData("setGroupState")]
    [InlineData("subscribeGroupState")]
    [InlineData("unsubscribeGroupState")]
    public async Task GroupStateRequest_InvalidGroupName_IsRejected(string type)
    {
        await using var app = await StartAsync();
        var (client, _) = await OpenAsync(app);
        await using var __ = client;
        string[] groups = ["", "\"group\":\"\",", "\"group\":7,", "\"group\":null,", "\"group\":\"a\\nb\",", $"\"group\":\"{new string('x', 256)}\","];
        foreach (var group in groups)
        {
            await JsonClient.SendTextAsync(client, $$"""{"type":"{{type}}",{{group}}"ackId":1}""");
            await JsonClient.FailsAsync(client, 1, "BadRequest");
        }

        await JsonClient.ReceivesNothingElseAsync(client);
        Assert.Equal(0, Followed(app));
    }

    [Fact]
    public async Task GroupStateRequest_WithoutAuthorizer_NeitherReadsNorWritesStates()
    {
        await using var app = await BroadcastApp.StartAsync();
        var presence = app.Services.GetRequiredService<IPresence>();
        await using var member = await RawClient.OpenAsync(app);
        var memberId = app.Registry.Connections.Single().Id;
        Assert.True(await presence.SetStateAsync(memberId, "/ws", """{"ip":"203.0.113.7","role":"moderator"}"""u8.ToArray(), Token));
        var (client, id) = await OpenAsync(app);
        await using var _ = client;

        await JsonClient.SendTextAsync(client, Subscribe("/ws", 1), Set("/ws", """{"role":"admin"}""", 2), Set("/ws", "null", 3), Subscribe("other", 4));
        foreach (var ackId in (int[])[1, 2, 3, 4]) await JsonClient.FailsAsync(client, ackId, "Forbidden");
        await JsonClient.SendTextAsync(client, """{"type":"subscribeGroupState","group":"/ws"}""", """{"type":"setGroupState","group":"/ws","state":{"role":"admin"}}""");
        await JsonClient.ReceivesNothingElseAsync(client);

        var members = await presence.GetMembersAsync("/ws", Token);
        Assert.Equal("""{"ip":"203.0.113.7","role":"moderator"}"""u8, members.Single(each => each.ConnectionId == memberId).State.Span);
        Assert.True(members.Single(each => each.ConnectionId == id).State.IsEmpty);
    }

    [Fact]
    public async Task SetGroupState_StateSetByApp_IsForbiddenUntilAppRemovesState()
    {
        await using var app = await StartAsync();
        var presence = app.Services.GetRequiredService<IPresence>();
        var (client, id) = await OpenAsync(app);
        await using var _ = client;
        await DoAsync(client, Join("g"), Set("g", """{"role":"admin"}"""));

        Assert.True(await presence.SetStateAsync(id, "g", """{"role":"guest"}"""u8.ToArray(), Token));
        await JsonClient.SendTextAsync(client, Set("g", """{"role":"admin"}""", 1), Set("g", "null", 2));
        await JsonClient.ReceivesAsync(
            client,
            """{"type":"ack","ackId":1,"success":false,"error":{"name":"Forbidden","message":"The app has set the state of this client in the group. Only the app can change this state."}}""");
        await JsonClient.FailsAsync(client, 2, "Forbidden");
        Assert.Equal("""{"role":"guest"}""", await StateAsync(app));

        Assert.True(await presence.SetStateAsync(id, "g", default, Token));
        await DoAsync(client, Set("g", """{"color":"red"}"""));
        Assert.Equal("""{"color":"red"}""", await StateAsync(app));
        // The state ends with the membership, so the next membership starts without a state.
        Assert.True(await presence.SetStateAsync(id, "g", "{}"u8.ToArray(), Token));
        await DoAsync(client, """{"type":"leaveGroup","group":"g","ackId":0}""", Join("g"), Set("g", """{"color":"blue"}"""));
        Assert.Equal("""{"color":"blue"}""", await StateAsync(app));
    }

    [Fact]
    public async Task SetGroupState_StateSetByAppOnOtherNode_IsForbidden()
    {
        var cluster = new InMemoryCluster();
        await using var one = await StartAsync(configure: builder => builder.Services.AddBroadcast().AddInMemoryCluster(cluster));
        await using var two = await StartAsync(configure: builder => builder.Services.AddBroadcast().AddInMemoryCluster(cluster));
        var (client, id) = await OpenAsync(one);
        await using var _ = client;

        Assert.True(await two.Services.GetRequiredService<IPresence>().SetStateAsync(id, "/ws", """{"role":"guest"}"""u8.ToArray(), Token));
        await JsonClient.SendTextAsync(client, Set("/ws", """{"role":"admin"}""", 1));
        await JsonClient.FailsAsync(client, 1, "Forbidden");
    }

    [Fact]
    public async Task SubscribeGroupState_RemoteMemberLeftWhileNobodySubscribed_SnapshotOmitsMember()
    {
        var cluster = new InMemoryCluster();
        await using var one = await StartAsync(configure: builder => builder.Services.AddBroadcast().AddInMemoryCluster(cluster));
        await using var two = await StartAsync(configure: builder => builder.Services.AddBroadcast().AddInMemoryCluster(cluster));
        var presence = one.Services.GetRequiredService<IPresence>();
        var (local, localId) = await OpenAsync(one);
        var (remote, remoteId) = await OpenAsync(two);
        var (first, _) = await OpenAsync(one);
        var (second, _) = await OpenAsync(one);
        await using var _1 = local;
        await using var _2 = remote;
        await using var _3 = first;
        await using var _4 = second;
        // The state of the local member keeps the feed after the last subscriber has left.
        Assert.True(await presence.SetStateAsync(localId, "/ws", """{"k":"local"}"""u8.ToArray(), Token));
        Assert.True(await two.Services.GetRequiredService<IPresence>().SetStateAsync(remoteId, "/ws", """{"k":"remote"}"""u8.ToArray(), Token));
        var before = new StatePicture("/ws");
        await JsonClient.SendTextAsync(first, """{"type":"subscribeGroupState","group":"/ws"}""");
        await before.ReadUntilAsync(first, () => before[remoteId] is not null);

        await DoAsync(first, """{"type":"unsubscribeGroupState","group":"/ws","ackId":0}""");
        await Eventually.True(() => !Presences.IsPolled(presence, "/ws"));
        remote.Reset();
        await Eventually.True(() => two.Registry.Count == 0);

        await DoAsync(second, Subscribe("/ws", 0));
        var after = new StatePicture("/ws");
        after.Apply(await JsonClient.ReadAsync(second));
        Assert.Equal([(localId, """{"k":"local"}""")], after.States);
        LogAssert.NoErrors(one);
    }

    [Fact]
    public async Task GroupStateRequest_Authorizer_DecidesForEachOperation()
    {
        await using var app = await StartAsync(new Rules((group, operation) => group == "in" ? operation == GroupOperation.SubscribeToStates : operation != GroupOperation.SubscribeToStates));
        var (client, _) = await OpenAsync(app);
        await using var __ = client;
        await JsonClient.SendTextAsync(client, Subscribe("in", 1));
        await JsonClient.ReceivesAsync(client, JsonClient.Success(1), StatePicture.Snapshot("in"));
        Assert.Equal(0, app.Registry.CountGroupMembers("in"));
        await JsonClient.SendTextAsync(client, Set("in", "{}", 2), Join("out"), Set("out", "{}", 3), Subscribe("out", 4));
        await JsonClient.FailsAsync(client, 2, "Forbidden");
        await JsonClient.SucceedsAsync(client, 0);
        await JsonClient.SucceedsAsync(client, 3);
        // The permission to join does not include the permission to subscribe to states.
        await JsonClient.FailsAsync(client, 4, "Forbidden");
    }

    [Fact]
    public async Task SubscribeGroupState_AuthorizerThrows_LeavesNoSubscription()
    {
        await using var app = await StartAsync(new Rules((_, _) => throw new InvalidOperationException("secret")));
        var (client, _) = await OpenAsync(app);
        await using var __ = client;
        await JsonClient.SendTextAsync(client, Subscribe("g", 1));
        await JsonClient.FailsAsync(client, 1, "InternalServerError");
        await JsonClient.EndsAsync(client, 1011);
        Assert.Equal(0, Followed(app));
    }

    [Fact]
    public async Task SubscribeGroupState_AlreadySubscribed_SendsNoSecondSnapshot()
    {
        await using var app = await StartAsync();
        var (client, id) = await OpenAsync(app);
        await using var _ = client;
        await DoAsync(client, Join("g"), """{"type":"unsubscribeGroupState","group":"g","ackId":0}""");
        await JsonClient.SendTextAsync(client, Subscribe("g", 1));
        await JsonClient.ReceivesAsync(client, JsonClient.Success(1), StatePicture.Snapshot("g"));
        await JsonClient.SendTextAsync(client, Subscribe("g", 2));
        await JsonClient.SucceedsAsync(client, 2);
        await JsonClient.SendTextAsync(client, """{"type":"setGroupState","group":"g","state":{"k":"1"}}""");
        var picture = new StatePicture("g");
        picture.Apply(StatePicture.Snapshot("g"));
        await picture.ReadUntilAsync(client, () => picture[id] is not null);
        await JsonClient.ReceivesNothingElseAsync(client);
        Assert.Equal((1, 1), (picture.Snapshots, picture.Updates));
    }

    [Fact]
    public async Task GroupStateRequest_AckIdRepeated_IsDuplicateUnlessFirstRequestFailed()
    {
        await using var app = await StartAsync();
        var (client, _) = await OpenAsync(app);
        await using var __ = client;
        await JsonClient.SendTextAsync(client, Set("g", """{"k":"0"}""", 1), Join("g"), Set("g", """{"k":"1"}""", 1), Set("g", """{"k":"2"}""", 1));
        await JsonClient.FailsAsync(client, 1, "Forbidden");
        await JsonClient.SucceedsAsync(client, 0);
        await JsonClient.SucceedsAsync(client, 1);
        await JsonClient.FailsAsync(client, 1, "Duplicate");
        Assert.Equal("""{"k":"1"}""", await StateAsync(app));

        await JsonClient.SendTextAsync(client, Subscribe("g", 2));
        await JsonClient.SucceedsAsync(client, 2);
        await JsonClient.ReadAsync(client);
        await JsonClient.SendTextAsync(client, """{"type":"unsubscribeGroupState","group":"g","ackId":3}""", Subscribe("g", 2));
        await JsonClient.SucceedsAsync(client, 3);
        await JsonClient.FailsAsync(client, 2, "Duplicate");
        await JsonClient.ReceivesNothingElseAsync(client);
    }

    [Fact]
    public async Task SubscribeGroupState_OverMaxGroupsPerConnection_IsRejected()
    {
        await using var app = await StartAsync(options: options => options.MaxGroupsPerConnection = 3);
        var (client, _) = await OpenAsync(app);
        await using var __ = client;
        foreach (var group in new[] { "a", "b", "c" })
        {
            await JsonClient.SendTextAsync(client, Subscribe(group, group[0]));
            await JsonClient.ReceivesAsync(client, JsonClient.Success(group[0]), StatePicture.Snapshot(group));
        }

        await JsonClient.SendTextAsync(client, Subscribe("d", 1), Subscribe("a", 2), """{"type":"subscribeGroupState","group":"d"}""");
        await JsonClient.ReceivesAsync(
            client,
            """{"type":"ack","ackId":1,"success":false,"error":{"name":"BadRequest","message":"The connection has subscribed to the states of 3 groups, the maximum of MaxGroupsPerConnection. Unsubscribe from a group first, or raise the option."}}""",
            JsonClient.Success(2));
        await JsonClient.ReceivesNothingElseAsync(client);
        Assert.Equal(3, Followed(app));
        await JsonClient.SendTextAsync(client, """{"type":"unsubscribeGroupState","group":"b"}""", Subscribe("d", 1));
        await JsonClient.ReceivesAsync(client, JsonClient.Success(1), StatePicture.Snapshot("d"));
    }

    [Fact]
    public async Task UnsubscribeGroupState_StatesKeepChanging_StopsUpdates()
    {
        await using var app = await StartAsync();
        var (teller, tellerId) = await OpenAsync(app);
        var (client, _) = await OpenAsync(app);
        var (witness, _) = await OpenAsync(app);
        await using var __ = teller;
        await using var ___ = client;
        await using var ____ = witness;
        await DoAsync(teller, Join("g"));
        var seen = new StatePicture("g");
        await JsonClient.SendTextAsync(witness, """{"type":"subscribeGroupState","group":"g"}""");
        for (var round = 0; round < 20; round++)
        {
            await JsonClient.SendTextAsync(client, Subscribe("g", 2 * round));
            await JsonClient.SucceedsAsync(client, 2 * round);
            for (var i = 0; i < 10; i++) await JsonClient.SendTextAsync(teller, $$$"""{"type":"setGroupState","group":"g","state":{"k":"{{{round}}} {{{i}}}"}}""");
            await JsonClient.SendTextAsync(client, $$"""{"type":"unsubscribeGroupState","group":"g","ackId":{{(2 * round) + 1}}}""");
            string message;
            var received = new StatePicture("g");
            while ((message = await JsonClient.ReadAsync(client)) != JsonClient.Success((2 * round) + 1)) received.Apply(message);
            await seen.ReadUntilAsync(witness, () => seen[tellerId] == $$"""{"k":"{{round}} 9"}""");
            await JsonClient.ReceivesNothingElseAsync(client);
        }
    }

    [Fact]
    public async Task AppState_NotAnObjectOfStrings_CountsAsNoState()
    {
        await using var app = await StartAsync();
        var presence = app.Services.GetRequiredService<IPresence>();
        var (one, oneId) = await OpenAsync(app);
        var (two, twoId) = await OpenAsync(app);
        await using var _ = one;
        await using var __ = two;
        byte[][] others = [[.. "away"u8], [.. "{\"k\":1}"u8], [.. "{\"k\":\"v\"} "u8, 1], [.. "{\"k\":\""u8, 0xff, .. "\"}"u8], [.. "{\"k\":\"v\"}{}"u8], [0, 1, 2]];
        foreach (var state in others)
        {
            Assert.True(await presence.SetStateAsync(oneId, "/ws", state, Token));
            await JsonClient.SendTextAsync(two, Subscribe("/ws", 0));
            await JsonClient.ReceivesAsync(two, JsonClient.Success(0), StatePicture.Snapshot("/ws"));
            await JsonClient.SendTextAsync(two, """{"type":"unsubscribeGroupState","group":"/ws"}""", """{"type":"leaveGroup","group":"nowhere","ackId":1}""");
            await JsonClient.ReadAsync(two);
            await two.DisposeAsync();
            (two, twoId) = await OpenAsync(app);
        }

        await using var last = two;
        var picture = new StatePicture("/ws");
        await JsonClient.SendTextAsync(two, """{"type":"subscribeGroupState","group":"/ws"}""");
        picture.Apply(await JsonClient.ReadAsync(two));
        foreach (var state in others)
        {
            await presence.SetStateAsync(oneId, "/ws", state, Token);
            await presence.SetStateAsync(oneId, "/ws", " { \"k\" : \"v\" } "u8.ToArray(), Token);
            await picture.ReadUntilAsync(two, () => picture[oneId] == """{ "k" : "v" }""");
            await presence.SetStateAsync(oneId, "/ws", state, Token);
            await picture.ReadUntilAsync(two, () => picture[oneId] is null);
        }

        Assert.Equal((1, 2 * others.Length), (picture.Snapshots, picture.Updates));
        await presence.SetStateAsync(twoId, "/ws", "{\"me\":\"\"}"u8.ToArray(), Token);
        await picture.ReadUntilAsync(two, () => picture[twoId] is not null);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task SenderRestart_SeveralSubscriptions_SendsEverySnapshotAgain()
    {
        await using var app = await StartAsync();
        var (client, id) = await OpenAsync(app);
        await using var _ = client;
        var states = await SubscribeAsync(app, client, id, "g", "h");
        await DoAsync(client, Join("g"));
        await JsonClient.SendTextAsync(client, """{"type":"setGroupState","group":"g","state":{"k":"v"}}""");
        var (g, h) = (new StatePicture("g"), new StatePicture("h"));
        g.Apply(StatePicture.Snapshot("g"));
        await g.ReadUntilAsync(client, () => g[id] is not null);

        for (var i = 1; i <= 5; i++)
        {
            states.Restart();
            for (var j = 0; j < 2; j++)
            {
                var message = await JsonClient.ReadAsync(client);
                (message.Contains("\"group\":\"g\"", StringComparison.Ordinal) ? g : h).Apply(message);
            }

            Assert.Equal((1 + i, i), (g.Snapshots, h.Snapshots));
            Assert.Equal([(id, """{"k":"v"}""")], g.States);
            Assert.Empty(h.States);
        }

        await JsonClient.ReceivesNothingElseAsync(client);
        await JsonClient.SendTextAsync(client, """{"type":"setGroupState","group":"g"}""");
        await g.ReadUntilAsync(client, () => g[id] is null);
        Assert.Equal(6, g.Snapshots);
    }

    [Fact]
    public async Task Snapshot_LargeGroup_IsSplitWithinBacklogLimit()
    {
        const int Members = 60, Backlog = 16 * 1024;
        await using var app = await StartAsync(options: options => (options.MaxMessageBytes, options.MaxBacklogBytes) = (4096, Backlog));
        var members = new List<(RawClient Client, string Id)>();
        for (var i = 0; i < Members; i++)
        {
            members.Add(await OpenAsync(app));
            await DoAsync(members[i].Client, Join("g"), Set("g", $$"""{"k":"{{new string('x', 900)}}{{i}}"}"""));
        }

        var (client, _) = await OpenAsync(app);
        await using var __ = client;
        await JsonClient.SendTextAsync(client, """{"type":"subscribeGroupState","group":"g"}""");
        var (picture, items) = (new StatePicture("g"), 0);
        while (picture.Members.Count() < Members)
        {
            var message = await JsonClient.ReadAsync(client);
            Assert.InRange(message.Length, 1, Backlog / 2);
            items += message.Split("connectionId").Length - 1;
            picture.Apply(message);
        }

        Assert.Equal((1, Members), (picture.Snapshots, items));
        await JsonClient.ReceivesNothingElseAsync(client);
        foreach (var member in members) await member.Client.DisposeAsync();
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task SlowSubscriber_ManyUpdates_ReceivesLatestStateWithoutDelayingOtherSubscribers()
    {
        const int States = 4_000;
        await using var app = await StartAsync(configure: Stall.SmallSendBuffers, options: options => options.MaxBacklogBytes = 256 * 1024);
        using var meters = new Meters(app);
        var slow = await JsonClient.OpenAsync(app, receiveBuffer: Stall.SmallWindow);
        await using var _ = slow;
        var slowId = app.Registry.Connections.Single().Id;
        var (teller, tellerId) = await OpenAsync(app);
        var (quick, quickId) = await OpenAsync(app);
        await using var __ = teller;
        await using var ___ = quick;
        await DoAsync(teller, Join("g"));
        await SubscribeAsync(app, slow, slowId, "g");
        await SubscribeAsync(app, quick, quickId, "g");
        var fillers = await Stall.FillAsync(app, meters, slowId);

        var (seen, padding) = (new StatePicture("g"), new string('x', 900));
        seen.Apply(StatePicture.Snapshot("g"));
        var reading = seen.ReadUntilAsync(quick, () => seen[tellerId]?.EndsWith($" {States}\"}}", StringComparison.Ordinal) == true);
        for (var i = 1; i <= States; i++)
            await JsonClient.SendTextAsync(teller, $$$"""{"type":"setGroupState","group":"g","state":{"k":"{{{padding}}} {{{i}}}"}}""");
        await reading;

        Assert.Equal(3, app.Registry.Count);
        var received = new StatePicture("g");
        received.Apply(StatePicture.Snapshot("g"));
        for (var i = 0; i < fillers; i++) Assert.StartsWith("""{"type":"message","from":"server","dataType":"binary",""", await JsonClient.ReadAsync(slow), StringComparison.Ordinal);
        await received.ReadUntilAsync(slow, () => received[tellerId] == seen[tellerId]);
        Assert.InRange(received.Updates, 1, 5);
        await JsonClient.ReceivesNothingElseAsync(slow);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Subscribers_ConcurrentChanges_EndWithSameStates()
    {
        const int Tellers = 6, Rounds = 150, Subscribers = 8;
        await using var app = await StartAsync();
        var (marker, markerId) = await OpenAsync(app);
        await using var _ = marker;
        await DoAsync(marker, Join("g"));
        var tellers = new List<(RawClient Client, string Id)>();
        for (var i = 0; i < Tellers; i++) tellers.Add(await OpenAsync(app, i % 2 == 0 ? $"user {i}" : null));
        var working = tellers.Select((teller, number) => Task.Run(() => TellAsync(teller.Client, number), Token)).ToArray();
        var reading = new List<Task<StatePicture>>();
        var subscribers = new List<RawClient>();
        for (var i = 0; i < Subscribers; i++)
        {
            var (subscriber, _) = await OpenAsync(app);
            subscribers.Add(subscriber);
            await JsonClient.SendTextAsync(subscriber, """{"type":"subscribeGroupState","group":"g"}""");
            reading.Add(ReadAsync(subscriber));
        }

        await Task.WhenAll(working);
        await DoAsync(marker, Set("g", """{"k":"last"}"""));

        var (fresh, _) = await OpenAsync(app);
        await JsonClient.SendTextAsync(fresh, """{"type":"subscribeGroupState","group":"g"}""");
        var expected = await ReadAsync(fresh);
        Assert.Equal(0, expected.Updates);
        var members = await app.Services.GetRequiredService<IPresence>().GetMembersAsync("g", Token);
        Assert.Equal(
            members.Where(member => member.State.Length > 0).Select(member => (member.ConnectionId, Encoding.UTF8.GetString(member.State.Span)))
                .OrderBy(member => member.ConnectionId, StringComparer.Ordinal),
            expected.States);
        foreach (var picture in await Task.WhenAll(reading))
        {
            Assert.Equal(1, picture.Snapshots);
            Assert.Equal(expected.Members, picture.Members);
        }

        foreach (var client in tellers.Select(teller => teller.Client).Concat(subscribers).Append(fresh)) await client.DisposeAsync();
        LogAssert.NoErrors(app);

        async Task TellAsync(RawClient client, int number)
        {
            var random = new Random(number);
            for (var i = 0; i < Rounds; i++)
            {
                string[] requests = random.Next(4) == 0
                    ? ["""{"type":"leaveGroup","group":"g"}"""]
                    : ["""{"type":"joinGroup","group":"g"}""", $$$"""{"type":"setGroupState","group":"g","state":{{{(random.Next(5) == 0 ? "null" : $$"""{"k":"{{i}}"}""")}}}}"""];
                await JsonClient.SendTextAsync(client, requests);
                if (random.Next(8) == 0) await JsonClient.ReceivesNothingElseAsync(client);
            }

            await JsonClient.ReceivesNothingElseAsync(client);
        }

        async Task<StatePicture> ReadAsync(RawClient client)
        {
            var picture = new StatePicture("g");
            await picture.ReadUntilAsync(client, () => picture[markerId] is not null);
            return picture;
        }
    }

    [Fact]
    public async Task Subscriber_Disconnects_LeavesNoSubscriptionOrState()
    {
        await using var app = await StartAsync();
        for (var i = 0; i < 60; i++)
        {
            var (client, _) = await OpenAsync(app);
            await DoAsync(client, Join("g"), Set("g", """{"k":"v"}"""));
            await JsonClient.SendTextAsync(client, """{"type":"subscribeGroupState","group":"g"}""", $$"""{"type":"subscribeGroupState","group":"own {{i}}"}""");
            if (i % 3 == 0) await JsonClient.ReadAsync(client);
            switch (i % 4)
            {
                case 0:
                    client.Reset();
                    break;
                case 1:
                    client.Finish();
                    await client.ReadEndAsync();
                    break;
                case 2:
                    await client.SendAsync(ClientFrame.CreateClose(WebSocketCloseStatus.NormalClosure));
                    await client.ReadEndAsync();
                    break;
                default:
                    await client.SendAsync(ClientFrame.Make(ClientFrame.Text, [0xff]));
                    await client.ReadEndAsync();
                    break;
            }

            await client.DisposeAsync();
        }

        await Eventually.True(() => app.Registry.Count == 0);
        await Eventually.True(() => Followed(app) == 0);
        LogAssert.NoErrors(app);
    }

    static int Followed(BroadcastApp app) => Presences.Followed(app.Services.GetRequiredService<IPresence>());

    static async Task<string> StateAsync(BroadcastApp app) =>
        Encoding.UTF8.GetString(Assert.Single(await app.Services.GetRequiredService<IPresence>().GetMembersAsync("g", Token)).State.Span);

    static string Join(string group) => $$"""{"type":"joinGroup","group":"{{group}}","ackId":0}""";

    static string Set(string group, string state, int ackId = 0) => $$"""{"type":"setGroupState","group":"{{group}}","ackId":{{ackId}},"state":{{state}}}""";

    static string Subscribe(string group, int ackId) => $$"""{"type":"subscribeGroupState","group":"{{group}}","ackId":{{ackId}}}""";

    /// <summary>Sends each request with a new ackId in place of 0, and reads the success answer.</summary>
    static async Task DoAsync(RawClient client, params string[] requests)
    {
        foreach (var request in requests)
        {
            var id = Interlocked.Increment(ref _ackId);
            await JsonClient.SendTextAsync(client, request.Replace("\"ackId\":0", $"\"ackId\":{id}", StringComparison.Ordinal));
            await JsonClient.SucceedsAsync(client, id);
        }
    }

    static int _ackId = 1_000;

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_states")]
    static extern ref FeedSender States(ProtocolContext context);

    /// <summary>Subscribes to groups in which no member has a state yet.</summary>
    static async Task<FeedSender> SubscribeAsync(BroadcastApp app, RawClient client, string id, params string[] groups)
    {
        foreach (var group in groups)
        {
            await JsonClient.SendTextAsync(client, $$"""{"type":"subscribeGroupState","group":"{{group}}"}""");
            await JsonClient.ReceivesAsync(client, StatePicture.Snapshot(group));
        }

        return States((ProtocolContext)((Connection)app.Registry.Find(id)!).ProtocolState!);
    }

    static async Task<(RawClient Client, string Id)> OpenAsync(BroadcastApp app, string? user = null)
    {
        var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync("/ws", user is null ? [JsonClient.Offers()] : [JsonClient.Offers(), TestUsers.As(user)]);
        var id = await JsonClient.IdAsync(client);
        await client.JoinedAsync();
        return (client, id);
    }

    static Task<BroadcastApp> StartAsync(
        IGroupAuthorizer? rules = null, Action<BroadcastOptions>? options = null, Action<WebApplicationBuilder>? configure = null) =>
        BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddSingleton(rules ?? Rules.AllowAll);
                configure?.Invoke(builder);
            },
            options: options);
}
