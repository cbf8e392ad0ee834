using System.Net.WebSockets;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Publishing;

public sealed partial class BroadcasterTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Publish_TextBytesAndJson_ArriveUnchanged()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        await app.Broadcaster.PublishAsync("grüße 😀", cancellationToken: Token);
        await app.Broadcaster.PublishAsync(new byte[] { 0, 255 }, cancellationToken: Token);
        await app.Broadcaster.PublishAsync(new Price("ACME", 1.5m), Json.Default.Price, cancellationToken: Token);
        await app.Broadcaster.PublishAsync("", cancellationToken: Token);
        Assert.Equal("grüße 😀", await device.ReceiveTextAsync());
        var binary = await device.ReceiveAsync();
        Assert.Equal([0, 255], binary.Payload.ToArray());
        Assert.Equal(MessageType.Binary, binary.Type);
        Assert.Equal("""{"symbol":"ACME","value":1.5}""", await device.ReceiveTextAsync());
        Assert.Equal("", await device.ReceiveTextAsync());
    }

    [Fact]
    public async Task Publish_Bytes_AreCopiedBeforeReturn()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        var bytes = new byte[] { 1, 2, 3 };
        var publishing = app.Broadcaster.PublishAsync(bytes, cancellationToken: Token);
        bytes.AsSpan().Clear();
        await publishing;
        Assert.Equal([1, 2, 3], (await device.ReceiveAsync()).Payload.ToArray());
    }

    [Fact]
    public async Task Publish_LoneSurrogate_BecomesReplacementCharacter()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        await app.Broadcaster.PublishAsync("a\ud800b", cancellationToken: Token);
        Assert.Equal("a\ufffdb", await device.ReceiveTextAsync());
    }

    [Fact]
    public async Task Publish_EachKindOfRecipients_ReachesOnlyTheseRecipients()
    {
        await using var app = await TestHosts.StartAsync(map: map => map.MapBroadcast("/rooms/{room}"));
        await using var phone = await app.ConnectAsync("/rooms/a", "ann");
        await using var laptop = await app.ConnectAsync("/rooms/b", "ann");
        await using var bob = await app.ConnectAsync("/rooms/b", "bob");
        Assert.Equal(3, await CountAsync("all", Recipients.Everyone));
        Assert.Equal(2, await CountAsync("room b", Recipients.Group("/rooms/b")));
        Assert.Equal(2, await CountAsync("ann", Recipients.User("ann")));
        Assert.Equal(1, await CountAsync("phone", Recipients.Connection(phone.Id)));
        Assert.Equal(0, await CountAsync("other case", Recipients.Group("/rooms/B")));
        foreach (var device in new[] { phone, laptop, bob }) await device.SettleAsync();
        Assert.Equal(3, await CountAsync("end", default));
        Assert.Equal(["all", "ann", "end", "phone"], (await ReceiveTextAsync(phone, 4)).Order(StringComparer.Ordinal));
        Assert.Equal(["all", "ann", "end", "room b"], (await ReceiveTextAsync(laptop, 4)).Order(StringComparer.Ordinal));
        Assert.Equal(["all", "end", "room b"], (await ReceiveTextAsync(bob, 3)).Order(StringComparer.Ordinal));

        async Task<int> CountAsync(string text, Recipients recipients) => (await app.Broadcaster.PublishAsync(text, recipients, cancellationToken: Token)).LocalRecipients;
    }

    [Fact]
    public async Task Publish_Everyone_ReachesEveryUrlIncludingPrivateRooms()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddAuthorization();
            },
            web =>
            {
                web.MapBroadcast("/ws");
                web.MapBroadcast("/rooms/{room}").RequireAuthorization();
            });
        await using var anyone = await RawClient.OpenAsync(app);
        await using var member = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await member.HandshakeAsync("/rooms/private", TestUsers.As("ann"))).Status);
        await member.JoinedAsync();
        var everyone = await app.Broadcaster.PublishAsync("everyone", Recipients.Everyone, cancellationToken: Token);
        var shortForm = await app.Broadcaster.PublishAsync("short form", cancellationToken: Token);
        Assert.Equal((2, 2), (everyone.LocalRecipients, shortForm.LocalRecipients));
        foreach (var client in (RawClient[])[anyone, member])
        {
            Assert.Equal("everyone", (await client.ReadFrameAsync()).Text);
            Assert.Equal("short form", (await client.ReadFrameAsync()).Text);
        }
    }

    [Fact]
    public async Task Publish_ExcludedConnections_ReceiveNothingAndAreNotCounted()
    {
        await using var app = await TestHosts.StartAsync();
        await using var phone = await app.ConnectAsync(userId: "ann");
        await using var laptop = await app.ConnectAsync(userId: "ann");
        await using var bob = await app.ConnectAsync();
        Assert.Equal(2, await CountAsync(Recipients.Everyone.Except(phone.Id)));
        Assert.Equal(1, await CountAsync(Recipients.Group("/ws").Except(phone.Id, bob.Id)));
        Assert.Equal(1, await CountAsync(Recipients.User("ann").Except(phone.Id)));
        Assert.Equal(0, await CountAsync(Recipients.Connection(phone.Id).Except(phone.Id)));
        Assert.Equal(1, await CountAsync(Recipients.Connection(phone.Id).Except(bob.Id)));
        Assert.Equal(3, await CountAsync(Recipients.Everyone.Except("nobody")));
        Assert.Equal(2, await CountAsync(Recipients.Everyone.Except(bob.Id).Except("nobody").Except(bob.Id, bob.Id)));
        Assert.Equal(0, await CountAsync(Recipients.Everyone.Except([phone.Id, laptop.Id, bob.Id])));
        foreach (var device in new[] { phone, laptop, bob }) await device.SettleAsync();
        await app.Broadcaster.PublishAsync("end", cancellationToken: Token);
        Assert.Equal(["x", "x", "x", "end"], await ReceiveTextAsync(phone, 4));
        Assert.Equal(["x", "x", "x", "x", "x", "end"], await ReceiveTextAsync(laptop, 6));
        Assert.Equal(["x", "x", "end"], await ReceiveTextAsync(bob, 3));

        async Task<int> CountAsync(Recipients recipients) => (await app.Broadcaster.PublishAsync("x", recipients, cancellationToken: Token)).LocalRecipients;
    }

    [Fact]
    public async Task Publish_DifferentRecipients_KeepsOrder()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync(userId: "ann");
        await app.Broadcaster.JoinAsync(device.Id, "extra", Token);
        Recipients[] targets =
            [Recipients.Everyone, Recipients.Group("/ws"), Recipients.Group("extra"), Recipients.User("ann"), Recipients.Connection(device.Id)];
        await app.Broadcaster.PublishAsync("start", targets[4], cancellationToken: Token);
        await device.SettleAsync();
        for (var i = 0; i < 500; i++) await app.Broadcaster.PublishAsync($"{i}", targets[i * 7 % 11 % 5], cancellationToken: Token);
        string[] expected = ["start", .. Enumerable.Range(0, 500).Select(i => $"{i}")];
        Assert.Equal(expected, await ReceiveTextAsync(device, 501));
    }

    [Fact]
    public async Task Position_GroupBecomesEmpty_StartsNewEpoch()
    {
        await using var app = await TestHosts.StartAsync(map: map => map.MapBroadcast("/rooms/{room}"));
        await using var stays = await app.ConnectAsync("/rooms/b");
        ulong epoch;
        await using (var a = await app.ConnectAsync("/rooms/a"))
        {
            var first = await PositionAsync("/rooms/a");
            Assert.Equal(1, first!.Value.Offset);
            epoch = first.Value.Epoch;
            for (var i = 2; i < 5; i++) Assert.Equal(new Position(epoch, i), await PositionAsync("/rooms/a"));
            Assert.Equal(1, (await PositionAsync("/rooms/b"))!.Value.Offset);
            await a.CloseAsync();
            await Eventually.True(() => app.Registry.CountGroupMembers("/rooms/a") == 0);
        }

        Assert.Null(await PositionAsync("/rooms/a"));
        await using var again = await app.ConnectAsync("/rooms/a");
        var reborn = await PositionAsync("/rooms/a");
        Assert.Equal(1, reborn!.Value.Offset);
        Assert.NotEqual(epoch, reborn.Value.Epoch);

        async Task<Position?> PositionAsync(string group) => (await app.Broadcaster.PublishAsync("x", Recipients.Group(group), cancellationToken: Token)).Position;
    }

    [Fact]
    public async Task Position_OfMessageToUserOrConnection_IsNull()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync(userId: "ann");
        await app.Broadcaster.PublishAsync("x", Recipients.Group("/ws"), cancellationToken: Token);
        Assert.Equal(1, (await app.Broadcaster.PublishAsync("x", cancellationToken: Token)).Position!.Value.Offset);
        Assert.Null((await app.Broadcaster.PublishAsync("x", Recipients.User("ann"), cancellationToken: Token)).Position);
        Assert.Null((await app.Broadcaster.PublishAsync("x", Recipients.Connection(device.Id), cancellationToken: Token)).Position);
    }

    [Fact]
    public async Task Publish_NoRecipients_ReturnsEmptyResult()
    {
        await using var app = await TestHosts.StartAsync();
        foreach (var recipients in new[] { Recipients.Everyone, Recipients.Group("g"), Recipients.User("u"), Recipients.Connection("c"), Recipients.Everyone.Except("c") })
            Assert.Equal(default, await app.Broadcaster.PublishAsync("x", recipients, cancellationToken: Token));
    }

    [Fact]
    public async Task Publish_MessageWithoutValidType_Throws()
    {
        await using var app = await TestHosts.StartAsync();
        await RefusedAsync(app, default, "type");
        await RefusedAsync(app, new Message(default, (MessageType)8), "type");
    }

    [Theory]
    [InlineData(new byte[] { 0xFF })]
    [InlineData(new byte[] { 0xC3 })]
    [InlineData(new byte[] { 0xED, 0xA0, 0x80 })]
    [InlineData(new byte[] { 0xC0, 0x80 })]
    public async Task Publish_InvalidUtf8Text_Throws(byte[] payload)
    {
        await using var app = await TestHosts.StartAsync();
        await RefusedAsync(app, new Message(payload, MessageType.Text), "UTF-8");
        await app.Broadcaster.PublishAsync(new Message(payload, MessageType.Binary), cancellationToken: Token);
    }

    [Fact]
    public async Task Publish_LargerThanMaxBacklogBytes_Throws()
    {
        await using var app = await TestHosts.StartAsync(options: options => (options.MaxMessageBytes, options.MaxBacklogBytes) = (1000, 200_000));
        await using var device = await app.ConnectAsync();
        await RefusedAsync(app, new Message(new byte[200_001], MessageType.Binary), "MaxBacklogBytes");
        await app.Broadcaster.PublishAsync(new byte[200_000], cancellationToken: Token);
        Assert.Equal(200_000, (await device.ReceiveAsync()).Payload.Length);
    }

    [Theory]
    [InlineData("")]
    [InlineData(null)]
    [InlineData("a\nb")]
    public async Task GroupMethods_InvalidGroupName_Throw(string? group)
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        Assert.Throws<ArgumentException>(() => Recipients.Group(group!));
        await Assert.ThrowsAsync<ArgumentException>(nameof(group), async () => await app.Broadcaster.JoinAsync(device.Id, group!, Token));
        await Assert.ThrowsAsync<ArgumentException>(nameof(group), async () => await app.Broadcaster.LeaveAsync(device.Id, group!, Token));
    }

    [Fact]
    public async Task Broadcaster_CanceledToken_ThrowsAndChangesNothing()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        var cancelled = new CancellationToken(canceled: true);
        await Assert.ThrowsAsync<OperationCanceledException>(async () => await app.Broadcaster.PublishAsync("x", cancellationToken: cancelled));
        await Assert.ThrowsAsync<OperationCanceledException>(async () => await app.Broadcaster.JoinAsync(device.Id, "g", cancelled));
        await Assert.ThrowsAsync<OperationCanceledException>(async () => await app.Broadcaster.LeaveAsync(device.Id, "/ws", cancelled));
        await Assert.ThrowsAsync<OperationCanceledException>(async () => await app.Broadcaster.CloseAsync(device.Id, cancellationToken: cancelled));
        await app.Broadcaster.PublishAsync("end", cancellationToken: Token);
        Assert.Equal("end", await device.ReceiveTextAsync());
        Assert.Equal(["/ws"], device.Connection.Groups);
    }

    [Fact]
    public async Task Connection_JoinsAndLeavesGroup_ReceivesOnlyMessagesInBetween()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        await PublishAsync("before");
        Assert.True(await app.Broadcaster.JoinAsync(device.Id, "g", Token));
        Assert.False(await app.Broadcaster.JoinAsync(device.Id, "g", Token));
        Assert.Equal(["/ws", "g"], device.Connection.Groups.Order(StringComparer.Ordinal));
        Assert.Equal(1, app.Registry.CountGroupMembers("g"));
        await PublishAsync("between");
        Assert.True(await app.Broadcaster.LeaveAsync(device.Id, "g", Token));
        Assert.False(await app.Broadcaster.LeaveAsync(device.Id, "g", Token));
        await PublishAsync("after");
        Assert.Equal(["/ws"], device.Connection.Groups);
        Assert.Equal(0, app.Registry.CountGroupMembers("g"));
        await app.Broadcaster.PublishAsync("end", cancellationToken: Token);
        Assert.Equal(["between", "end"], await ReceiveTextAsync(device, 2));

        async Task PublishAsync(string text) => await app.Broadcaster.PublishAsync(text, Recipients.Group("g"), cancellationToken: Token);
    }

    [Fact]
    public async Task Connection_LeftHomeGroup_StillReceivesMessagesToAll()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        Assert.True(await app.Broadcaster.LeaveAsync(device.Id, "/ws", Token));
        await app.Broadcaster.PublishAsync("home", Recipients.Group("/ws"), cancellationToken: Token);
        await app.Broadcaster.PublishAsync("all", cancellationToken: Token);
        Assert.Equal("all", await device.ReceiveTextAsync());
    }

    [Fact]
    public async Task Broadcaster_UnknownOrEmptyConnectionId_ReturnsFalseOrThrows()
    {
        await using var app = await TestHosts.StartAsync();
        Assert.False(await app.Broadcaster.JoinAsync("nobody", "g", Token));
        Assert.False(await app.Broadcaster.LeaveAsync("nobody", "g", Token));
        Assert.False(await app.Broadcaster.CloseAsync("nobody", cancellationToken: Token));
        foreach (var id in new[] { "", null })
        {
            await Assert.ThrowsAnyAsync<ArgumentException>(async () => await app.Broadcaster.JoinAsync(id!, "g", Token));
            await Assert.ThrowsAnyAsync<ArgumentException>(async () => await app.Broadcaster.LeaveAsync(id!, "g", Token));
            await Assert.ThrowsAnyAsync<ArgumentException>(async () => await app.Broadcaster.CloseAsync(id!, cancellationToken: Token));
        }
    }

    [Fact]
    public async Task Memberships_ConnectionCloses_AreRemoved()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        await app.Broadcaster.JoinAsync(device.Id, "g", Token);
        await device.CloseAsync();
        await Eventually.True(() => app.Registry.Count == 0 && app.Registry.CountGroupMembers("g") == 0);
        Assert.Equal(default, await app.Broadcaster.PublishAsync("x", Recipients.Group("g"), cancellationToken: Token));
        Assert.False(await app.Broadcaster.JoinAsync(device.Id, "g", Token));
    }

    [Fact]
    public async Task CloseAsync_CalledTwice_UsesFirstCodeAndReason()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        await app.Broadcaster.PublishAsync("last", cancellationToken: Token);
        Assert.True(await app.Broadcaster.CloseAsync(device.Id, (WebSocketCloseStatus)4000, "grüße", Token));
        Assert.True(await app.Broadcaster.CloseAsync(device.Id, (WebSocketCloseStatus)4001, "second", Token));
        Assert.Equal("last", await device.ReceiveTextAsync());
        Assert.Equal((4000, "grüße"), await device.ReceiveCloseAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    [Fact]
    public async Task CloseAsync_InvalidCodeOrReason_ThrowsAndKeepsConnection()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        await Assert.ThrowsAsync<ArgumentException>("status", async () => await app.Broadcaster.CloseAsync(device.Id, (WebSocketCloseStatus)1005, null, Token));
        await Assert.ThrowsAsync<ArgumentException>("reason", async () =>
            await app.Broadcaster.CloseAsync(device.Id, WebSocketCloseStatus.NormalClosure, new string('x', 124), Token));
        await device.SendAsync("still here");
        Assert.Equal("still here", await device.ReceiveTextAsync());
    }

    [Fact]
    public async Task AppStops_OpenConnection_ClosesWithCode1001()
    {
        await using var app = await TestHosts.StartAsync();
        await using var device = await app.ConnectAsync();
        var stopping = app.StopAsync();
        Assert.Equal(1001, (await device.ReceiveCloseAsync()).Code);
        await stopping;
    }

    [Fact]
    public async Task Connection_Properties_DescribeUserAndRequest()
    {
        await using var app = await InMemoryApp.StartAsync(map: map => map.MapBroadcast("/rooms/{room}"));
        using var ann = await app.ConnectAsync("/rooms/a?token=7", "ann");
        using var anonymous = await app.ConnectAsync("/rooms/a");
        Assert.Equal("ann", ann.Connection.UserId);
        Assert.True(ann.Connection.User.Identity!.IsAuthenticated);
        Assert.Equal("7", ann.Connection.HttpContext.Request.Query["token"]);
        Assert.Null(anonymous.Connection.UserId);
        Assert.False(anonymous.Connection.User.Identity!.IsAuthenticated);
        Assert.Equal("/rooms/a", anonymous.Connection.HomeGroup);
        Assert.InRange(TimeProvider.System.GetUtcNow() - ann.Connection.ConnectedAt, TimeSpan.Zero, TimeSpan.FromMinutes(1));
        Assert.Matches("^[A-Za-z0-9_-]{22}$", ann.Id);
        Assert.NotEqual(ann.Id, anonymous.Id);
    }

    static async Task RefusedAsync(BroadcastTestHost app, Message message, string named)
    {
        var error = await Assert.ThrowsAsync<ArgumentException>(nameof(message), async () => await app.Broadcaster.PublishAsync(message, cancellationToken: Token));
        Assert.Contains(named, error.Message, StringComparison.Ordinal);
    }

    static async Task<string[]> ReceiveTextAsync(RawTestClient device, int count)
    {
        var heard = new string[count];
        for (var i = 0; i < count; i++) heard[i] = await device.ReceiveTextAsync();
        return heard;
    }

    public sealed record Price(string Symbol, decimal Value);

    [JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
    [JsonSerializable(typeof(Price))]
    sealed partial class Json : JsonSerializerContext;
}
