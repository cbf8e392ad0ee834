using System.Net.WebSockets;
using System.Security.Claims;
using Microsoft.Extensions.DependencyInjection;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Testing.Recording;

/// <summary>Tests <see cref="RecordingBroadcaster"/>.</summary>
public sealed class RecordingBroadcasterTests
{
    readonly RecordingBroadcaster _broadcaster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Calls_OfEachKind_AreRecordedInOrder()
    {
        var buffer = "one"u8.ToArray();
        await _broadcaster.PublishAsync(new Message(buffer, MessageType.Text), Recipients.Group("g").Except("c9"), Token);
        buffer[0] = (byte)'x';
        Assert.True(await _broadcaster.JoinAsync("c1", "g", Token));
        Assert.False((await _broadcaster.JoinAsync("c1", "g", Replay.Last(2), Token)).Joined);
        Assert.True(await _broadcaster.LeaveAsync("c1", "g", Token));
        Assert.False(await _broadcaster.LeaveAsync("c1", "g", Token));
        var filter = SubscriptionFilter.TagEquals("region", "eu");
        Assert.True((await _broadcaster.JoinAsync("c1", "g", Replay.None, filter, Token)).Joined);
        await _broadcaster.CloseAsync("c1", (WebSocketCloseStatus)4001, "bye", Token);

        Assert.Equal("one", _broadcaster.AssertPublished("one", Recipients.Group("g").Except("c9")).Text);
        _broadcaster.AssertJoined("c1", "g");
        _broadcaster.AssertLeft("c1", "g");
        Assert.Equal("bye", _broadcaster.AssertClosed("c1", (WebSocketCloseStatus)4001).Reason);
        Assert.Equal([true, true, false, false, true], _broadcaster.Memberships.Select(call => call.IsJoin));
        Assert.Equal((Replay.Last(2), null), (_broadcaster.Memberships[1].Replay, _broadcaster.Memberships[1].Filter));
        Assert.Equal((Replay.None, filter), (_broadcaster.Memberships[4].Replay, _broadcaster.Memberships[4].Filter));
    }

    [Fact]
    public async Task Assertions_NoSuchCall_ErrorListsCalls()
    {
        _broadcaster.AssertNothingPublished();
        Assert.Contains("There were no calls", Fails(() => _broadcaster.AssertPublished("x")), StringComparison.Ordinal);
        await _broadcaster.PublishAsync("one", Recipients.Group("g").Except("c9"), cancellationToken: Token);
        await _broadcaster.JoinAsync("c1", "g", Token);
        await _broadcaster.CloseAsync("c1", cancellationToken: Token);
        const string Calls = "- publish 'one' to group 'g', except c9\n- c1 joins 'g'\n- close c1 with 1000 ''";
        Assert.All(
            [
                Fails(() => _broadcaster.AssertPublished("one", Recipients.Everyone)),
                Fails(() => _broadcaster.AssertPublished("two")),
                Fails(_broadcaster.AssertNothingPublished),
                Fails(() => _broadcaster.AssertJoined("c1", "other")),
                Fails(() => _broadcaster.AssertLeft("c1", "g")),
                Fails(() => _broadcaster.AssertClosed("c1", WebSocketCloseStatus.PolicyViolation)),
                Fails(() => _broadcaster.AssertClosed("c2")),
            ],
            message => Assert.Contains(Calls, message, StringComparison.Ordinal));

        static string Fails(Action assert) => Assert.Throws<BroadcastTestException>(assert).Message;
    }

    [Fact]
    public async Task InvalidArguments_OfEachMethod_ThrowAsInApp()
    {
        var broadcaster = new RecordingBroadcaster(services => services.Configure<BroadcastOptions>(options => options.MaxBacklogBytes = 256 * 1024));
        var tooLong = await Assert.ThrowsAsync<ArgumentException>(async () => await broadcaster.PublishAsync(new byte[300_000], cancellationToken: Token));
        Assert.Contains(nameof(BroadcastOptions.MaxBacklogBytes), tooLong.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<ArgumentException>(async () => await broadcaster.PublishAsync(default(Message), cancellationToken: Token));
        await Assert.ThrowsAsync<ArgumentException>(async () => await broadcaster.JoinAsync("c1", "", Token));
        await Assert.ThrowsAsync<ArgumentException>(async () => await broadcaster.LeaveAsync("", "g", Token));
        await Assert.ThrowsAsync<ArgumentException>(async () => await broadcaster.CloseAsync("c1", (WebSocketCloseStatus)1006, cancellationToken: Token));
        broadcaster.AssertNothingPublished();
        Assert.Empty(broadcaster.Memberships);
        Assert.Empty(broadcaster.Closes);
    }

    [Fact]
    public async Task Failure_Set_ThrowsAndRecordsNothing()
    {
        _broadcaster.Failure = new BackplaneException("down");
        await Assert.ThrowsAsync<BackplaneException>(async () => await _broadcaster.PublishAsync("x", cancellationToken: Token));
        await Assert.ThrowsAsync<BackplaneException>(async () => await _broadcaster.JoinAsync("c1", "g", Token));
        _broadcaster.Failure = null;
        _broadcaster.AssertNothingPublished();
        Assert.Empty(_broadcaster.Memberships);
    }

    [Fact]
    public async Task Publish_RegisteredConnections_CountsRecipients()
    {
        var (ann, bob) = (new TestConnection { UserId = "ann" }, new TestConnection { UserId = "bob" });
        foreach (var connection in new[] { ann, bob }) Assert.True(_broadcaster.Connections.TryAdd(connection));
        await _broadcaster.JoinAsync(ann.Id, "g", Token);
        await _broadcaster.JoinAsync(ann.Id, "h", Token);
        Assert.Equal(["g", "h"], ann.Groups.Order());
        Assert.Equal(2, await CountAsync(Recipients.Everyone));
        Assert.Equal(1, await CountAsync(Recipients.Everyone.Except(ann.Id)));
        Assert.Equal(1, await CountAsync(Recipients.Groups("g", "h")));
        Assert.Equal(1, await CountAsync(Recipients.User("bob")));
        Assert.Equal(1, await CountAsync(Recipients.Connection(bob.Id)));
        Assert.Equal(0, await CountAsync(Recipients.Connection("none")));
        await _broadcaster.LeaveAsync(ann.Id, "g", Token);
        Assert.Equal(0, await CountAsync(Recipients.Group("g")));
        Assert.Equal(["h"], ann.Groups);

        async Task<int> CountAsync(Recipients recipients) =>
            (await _broadcaster.PublishAsync("x", recipients, cancellationToken: Token)).LocalRecipients;
    }

    [Fact]
    public async Task Authentication_ExtendedAndEnded_IsRecorded()
    {
        var connection = new TestConnection { UserId = "ann" };
        Assert.True(_broadcaster.Connections.TryAdd(connection));
        var (renewed, other) = (TestClientOptions.CreateUser("ann"), TestClientOptions.CreateUser("bob"));
        var expires = new DateTimeOffset(2030, 1, 2, 3, 4, 5, TimeSpan.Zero);
        Assert.True(await _broadcaster.ExtendAuthenticationAsync(connection.Id, renewed, expires, Token));
        Assert.Same(renewed, connection.User);
        Assert.False(await _broadcaster.ExtendAuthenticationAsync(connection.Id, other, null, Token));
        Assert.Same(renewed, connection.User);
        await Assert.ThrowsAsync<ArgumentException>(async () =>
            await _broadcaster.ExtendAuthenticationAsync(connection.Id, new ClaimsPrincipal(new ClaimsIdentity()), null, Token));
        Assert.Equal([expires, null], _broadcaster.Authentications.Select(call => call.Expires));
        Assert.True(await _broadcaster.EndAuthenticationAsync(connection.Id, Token));
        _broadcaster.AssertClosed(connection.Id, WebSocketCloseStatus.PolicyViolation);
    }

    [Fact]
    public async Task Read_Group_ReturnsPublishedMessages()
    {
        await using var messages = _broadcaster.ReadAsync("g", cancellationToken: Token).GetAsyncEnumerator(Token);
        var next = messages.MoveNextAsync();
        await _broadcaster.PublishAsync("one", Recipients.Group("g"), cancellationToken: Token);
        Assert.True(await next.AsTask().WaitAsync(Eventually.Patience, Token));
        Assert.Equal("one", messages.Current.Message.ToString());
    }

    /// <summary>Tests of an app need not dispose the broadcaster. So the garbage collector must be able to free it.</summary>
    [Fact]
    public async Task RecordingBroadcaster_NoReference_IsGarbageCollected()
    {
        var broadcaster = await UseAsync();
        await Eventually.True(() =>
        {
            GC.Collect();
            return !broadcaster.IsAlive;
        });

        static async Task<WeakReference> UseAsync()
        {
            var broadcaster = new RecordingBroadcaster();
            await broadcaster.PublishAsync("x", cancellationToken: Token);
            return new(broadcaster.Connections);
        }
    }

    [Fact]
    public async Task Publish_SameMessageIdTwice_SecondIsDuplicate()
    {
        var message = Message.FromText("x") with { Id = "7" };
        Assert.False((await _broadcaster.PublishAsync(message, cancellationToken: Token)).IsDuplicate);
        Assert.True((await _broadcaster.PublishAsync(message, cancellationToken: Token)).IsDuplicate);
    }

    [Fact]
    public async Task Publish_ReusedBuffer_KeepsMessage()
    {
        var buffer = "1"u8.ToArray();
        var message = new Message(buffer, MessageType.Text) { Key = "key", IsJson = true, DisableCompression = true };
        await _broadcaster.PublishAsync(message, Recipients.Group("g"), Token);
        buffer[0] = (byte)'2';
        var recorded = _broadcaster.Publishes[0].Message;
        Assert.Equal(("1", "key", true, true), (recorded.ToString(), recorded.Key, recorded.IsJson, recorded.DisableCompression));
    }

    [Fact]
    public async Task FilterContext_SubstituteConnection_RecordingBroadcasterRecordsCalls()
    {
        var connection = Substitute.For<IBroadcastConnection>();
        connection.Id.Returns("c1");
        var context = new MessageContext(connection, _broadcaster, Message.FromText("x"));
        await context.ReplyAsync("reply", Token);
        await context.JoinAsync("g", Token);
        context.Close((WebSocketCloseStatus)4001);
        _broadcaster.AssertPublished("reply", Recipients.Connection("c1"));
        _broadcaster.AssertJoined("c1", "g");
        _broadcaster.AssertClosed("c1");
    }
}
