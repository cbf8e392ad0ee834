using System.Collections.Concurrent;
using System.Net.WebSockets;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests event streams and WebSockets at the same URL, on a real server.</summary>
public sealed class EventStreamTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ResponseHeaders_EventStream_DisableCachingAndBuffering()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await EventClient.OpenAsync(app);

        Assert.Equal("text/event-stream", client.Headers["Content-Type"]);
        Assert.Equal("no-cache, no-store, no-transform", client.Headers["Cache-Control"]);
        Assert.Equal("no", client.Headers["X-Accel-Buffering"]);
        Assert.Equal("chunked", client.Headers["Transfer-Encoding"]);
        Assert.DoesNotContain("Content-Length", client.Headers.Keys);
        Assert.DoesNotContain("Upgrade", client.Headers.Keys);
        Assert.True(Position.TryParse(await client.ReadIdAsync(), out var position));
        Assert.Equal(0, position.Offset);
    }

    [Fact]
    public async Task Group_WebSocketsAndEventStreams_ReceiveMessagesInSameOrder()
    {
        const int Messages = 1_000;
        await using var app = await BroadcastApp.StartAsync(protocols: HttpProtocols.Http1);
        await using var sender = await RawClient.OpenAsync(app);
        await using var socket = await RawClient.OpenAsync(app);
        await using var one = await EventClient.OpenAsync(app);
        await using var two = await EventClient.OpenAsync(app);

        var publishing = Task.WhenAll(
            Task.Run(async () =>
            {
                for (var i = 0; i < Messages; i++) await app.Broadcaster.PublishAsync($"published {i}", Recipients.Group("/ws"), cancellationToken: Token);
            }, Token),
            Task.Run(async () =>
            {
                for (var i = 0; i < Messages; i++)
                    await sender.SendAsync(i % 2 == 0 ? ClientFrame.CreateText($"sent {i}") : ClientFrame.Make(ClientFrame.Binary, Encoding.UTF8.GetBytes($"sent {i}")));
            }, Token),
            Task.Run(async () =>
            {
                for (var i = 0; i < 2 * Messages; i++) await sender.ReadFrameAsync();
            }, Token));
        var frames = new List<string>();
        var events = new List<string>();
        for (var i = 0; i < 2 * Messages; i++)
        {
            var frame = await socket.ReadFrameAsync();
            frames.Add($"{(frame.Opcode == ClientFrame.Text ? "message" : "binary")} {Encoding.UTF8.GetString(frame.Payload)}");
            var heard = await one.NextAsync();
            events.Add($"{heard.Type} {(heard.Type == "binary" ? Encoding.UTF8.GetString(Convert.FromBase64String(heard.Data)) : heard.Data)}");
            Assert.Equal(heard, await two.NextAsync());
            Assert.True(heard.HasOwnId);
            Assert.EndsWith($"-{i + 1}", heard.Id, StringComparison.Ordinal);
        }

        await publishing;
        Assert.Equal(frames, events);
        foreach (var kind in new[] { "published", "sent" })
            Assert.Equal(Enumerable.Range(0, Messages), events.Select(heard => heard.Split(' ')).Where(heard => heard[1] == kind).Select(heard => int.Parse(heard[2])));
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task EventId_MessagesOfSeveralGroups_OnlyHomeGroupMessagesHaveIds()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await EventClient.OpenAsync(app);
        var id = Assert.Single(app.Registry.Connections).Id;
        Assert.True(await app.Broadcaster.JoinAsync(id, "other", Token));

        await app.Broadcaster.PublishAsync("home 1", Recipients.Group("/ws"), cancellationToken: Token);
        await app.Broadcaster.PublishAsync("all", Recipients.Everyone, cancellationToken: Token);
        await app.Broadcaster.PublishAsync("direct", Recipients.Connection(id), cancellationToken: Token);
        await app.Broadcaster.PublishAsync("other", Recipients.Group("other"), cancellationToken: Token);
        await app.Broadcaster.PublishAsync("home 2", Recipients.Group("/ws"), cancellationToken: Token);

        foreach (var (text, offset, hasId) in new[] { ("home 1", 1, true), ("all", 1, false), ("direct", 1, false), ("other", 1, false), ("home 2", 2, true) })
        {
            var heard = await client.NextAsync();
            Assert.Equal((text, hasId), (heard.Data, heard.HasOwnId));
            Assert.EndsWith($"-{offset}", heard.Id, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Message_ToHomeAndOtherGroup_ArrivesOnceWithEventId(bool homeFirst)
    {
        await using var app = await BroadcastApp.StartAsync(map: map => map.MapBroadcast("/ws").UseConnect(async (context, next) =>
        {
            if (!homeFirst) await context.Broadcaster.JoinAsync(context.Connection.Id, "other", Token);
            await next(context);
            if (homeFirst) await context.Broadcaster.JoinAsync(context.Connection.Id, "other", Token);
        }));
        await using var client = await EventClient.OpenAsync(app);
        var groups = app.Services.GetRequiredKeyedService<BroadcastInstance>("").Groups;
        await Eventually.True(() => groups.Find("other") is { IsEmpty: false } && groups.Find("/ws") is { IsEmpty: false });

        for (var i = 0; i < 10; i++)
        {
            await app.Broadcaster.PublishAsync($"both {i}", Recipients.Groups("/ws", "other"), cancellationToken: Token);
            await app.Broadcaster.PublishAsync($"home {i}", Recipients.Group("/ws"), cancellationToken: Token);
        }

        for (var i = 0; i < 10; i++)
        {
            foreach (var (what, offset) in new[] { ("both", (2 * i) + 1), ("home", (2 * i) + 2) })
            {
                var heard = await client.NextAsync();
                Assert.Equal($"{what} {i}", heard.Data);
                Assert.True(heard.HasOwnId, $"{heard}");
                Assert.EndsWith($"-{offset}", heard.Id, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public async Task Http2_SeveralEventStreams_EndIndependently()
    {
        await using var app = await BroadcastApp.StartAsync(protocols: HttpProtocols.Http2);
        using var http2 = new Http2Client(app);
        await using var socket = await http2.OpenRawAsync();
        var responses = new List<HttpResponseMessage>();
        var clients = new List<EventClient>();
        for (var i = 0; i < 5; i++)
        {
            var response = await http2.GetAsync("/ws", ("Accept", "text/event-stream"));
            Assert.Equal(200, (int)response.StatusCode);
            Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.ToString());
            Assert.Equal("no", Assert.Single(response.Headers.GetValues("X-Accel-Buffering")));
            responses.Add(response);
            clients.Add(new(await response.Content.ReadAsStreamAsync(Token)));
        }

        await Attached(app, 6);
        Assert.Single(app.Registry.Connections.Select(connection => connection.HttpContext.Connection.Id).Distinct());
        await socket.SendAsync(ClientFrame.CreateText("one"));
        foreach (var client in clients) Assert.Equal("one", (await client.NextAsync()).Data);
        responses[0].Dispose();
        await Eventually.True(() => app.Registry.Count == 5);

        await app.Broadcaster.CloseAsync((await IdOf(app, clients[1])), (WebSocketCloseStatus)4001, "enough", Token);
        Assert.Equal("4001 enough", await clients[1].ReadCloseAsync());
        await Eventually.True(() => app.Registry.Count == 4);
        await app.Broadcaster.PublishAsync("two", Recipients.Group("/ws"), cancellationToken: Token);
        foreach (var client in clients.Skip(2)) Assert.Equal("two", (await client.NextAsync()).Data);
        http2.Reset();
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
        foreach (var response in responses) response.Dispose();

        // Finds the client's connection by a message that only this client receives.
        async Task<string> IdOf(BroadcastApp app, EventClient client)
        {
            foreach (var connection in app.Registry.Connections) await app.Broadcaster.PublishAsync(connection.Id, Recipients.Connection(connection.Id), cancellationToken: Token);
            foreach (var other in clients.Skip(1).Where(other => other != client)) await other.NextAsync();
            await socket.ReadFrameAsync();
            return (await client.NextAsync()).Data;
        }
    }

    [Fact]
    public async Task KeepAlive_IdleEventStream_SendsCommentEachInterval()
    {
        var time = new FakeTimeProvider();
        await using var app = await BroadcastApp.StartAsync(builder => builder.Services.AddSingleton<TimeProvider>(time));
        await using var client = await EventClient.OpenAsync(app);
        await client.ReadIdAsync();
        // The server measures no idle time before the connection has started completely.
        await Eventually.True(() => app.Registry.Connections.Single() is Connection { IsBusy: false });
        var beat = TimeSpan.FromSeconds(2.5);

        for (var comments = 1; comments <= 10; comments++)
        {
            // The idle time starts at the first heartbeat. After KeepAliveInterval, the server sends the comment.
            var beats = 0;
            for (; await CommentsAsync() < comments; beats++)
            {
                time.Advance(beat);
                // Wait between the heartbeats. If two heartbeats come before the connection processes the first one,
                // the two heartbeats count as one.
                await app.SettleAsync();
            }

            Assert.Equal(TimeSpan.FromSeconds(15) + beat, beat * beats);
        }

        await app.Broadcaster.PublishAsync("still here", Recipients.Everyone, cancellationToken: Token);
        Assert.Equal("still here", (await client.NextAsync()).Data);

        // If a heartbeat causes a comment, the comment arrives before a message that is published after the heartbeat.
        async Task<int> CommentsAsync()
        {
            await app.Broadcaster.PublishAsync("now", Recipients.Everyone, cancellationToken: Token);
            Assert.Equal("now", (await client.NextAsync()).Data);
            return client.Comments;
        }
    }

    [Theory]
    [InlineData(4001, "enough", "4001 enough")]
    [InlineData(1000, null, "1000 ")]
    [InlineData(4002, "two\r\nlines\n\nevent: forged", "4002 two lines  event: forged")]
    public async Task CloseAsync_EventStream_SendsEarlierMessagesThenCloseEvent(int status, string? reason, string closeEvent)
    {
        var disconnects = new ConcurrentQueue<DisconnectContext>();
        await using var app = await BroadcastApp.StartAsync(map: map => map.MapBroadcast("/ws").UseDisconnect((context, next) =>
        {
            disconnects.Enqueue(context);
            return next(context);
        }));
        using var meters = new Meters(app);
        await using var client = await EventClient.OpenAsync(app);
        var id = Assert.Single(app.Registry.Connections).Id;

        for (var i = 0; i < 100; i++) await app.Broadcaster.PublishAsync($"{i}", Recipients.Group("/ws"), cancellationToken: Token);
        Assert.True(await app.Broadcaster.CloseAsync(id, (WebSocketCloseStatus)status, reason, Token));
        await app.Broadcaster.PublishAsync("too late", Recipients.Group("/ws"), cancellationToken: Token);

        Assert.Equal(Enumerable.Range(0, 100).Select(i => $"{i}"), await client.ReceiveTextAsync(100));
        Assert.Equal(closeEvent, await client.ReadCloseAsync());
        await Eventually.True(() => meters.Sum(Meters.Connections) == 0 && app.Registry.Count == 0 && !disconnects.IsEmpty);
        Assert.Equal(status, (int)Assert.Single(disconnects).Status!);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["closed_by_app"]);

        // The TCP connection can now carry another request.
        await client.RequestAsync("/ws", "GET", "HTTP/1.1");
        Assert.Equal(426, client.Status);
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData("reset")]
    [InlineData("finish")]
    public async Task Clients_DisconnectDuringPublish_AreRemoved(string disconnect)
    {
        const int Clients = 40;
        var disconnected = new ConcurrentQueue<string>();
        using var unobserved = new UnobservedExceptions();
        await RunAsync();
        unobserved.AssertNoneOfOurs();

        async Task RunAsync()
        {
            await using var app = await BroadcastApp.StartAsync(
                options: options => (options.MaxConnections, options.MaxConnectionsPerAddress) = (Clients + 1, Clients + 1),
                map: map => map.MapBroadcast("/ws").UseDisconnect((context, next) =>
                {
                    disconnected.Enqueue(context.Connection.Id);
                    return next(context);
                }));
            using var meters = new Meters(app);
            await using var witness = await EventClient.OpenAsync(app);
            var witnessId = Assert.Single(app.Registry.Connections).Id;
            for (var round = 0; round < 2; round++)
            {
                var clients = new List<EventClient>();
                for (var i = 0; i < Clients; i++) clients.Add(await EventClient.OpenAsync(app));
                var vanishing = Task.Run(async () =>
                {
                    foreach (var client in clients)
                    {
                        if (disconnect == "reset") client.Reset();
                        else client.Finish();
                        await Task.Yield();
                    }
                }, Token);
                for (var i = 0; i < 500; i++)
                {
                    await app.Broadcaster.PublishAsync($"{i}", Recipients.Group("/ws"), cancellationToken: Token);
                    Assert.Equal($"{i}", (await witness.NextAsync()).Data);
                }

                await vanishing;
                await Eventually.True(() => app.Registry.Count == 1 && app.Registry.CountGroupMembers("/ws") == 1);
                foreach (var client in clients) await client.DisposeAsync();
            }

            await Eventually.True(() => meters.Sum(Meters.Connections) == 1 && disconnected.Count == 2 * Clients);
            Assert.Equal(2 * Clients, disconnected.Distinct().Count());
            Assert.DoesNotContain(witnessId, disconnected);
            Assert.Equal(2 * Clients, meters.Sum(Meters.Ended));
            LogAssert.NoErrors(app);
        }
    }

    [Fact]
    public async Task Clients_DisconnectRightAfterRequest_LeaveNoConnection()
    {
        await using var app = await BroadcastApp.StartAsync();
        var request = "GET /ws HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"u8.ToArray();

        for (var i = 0; i < 100; i++)
        {
            await using var client = await RawClient.ConnectAsync(app);
            await client.SendAsync(request);
            client.Reset();
        }

        await using var last = await EventClient.OpenAsync(app);
        await Eventually.True(() => app.Registry.Count == 1);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task EventStream_MessageFiltersAndFirstMessageTimeout_DoNotApply()
    {
        var (time, messages) = (new FakeTimeProvider(), 0);
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddSingleton<TimeProvider>(time),
            options: options => options.FirstMessageTimeout = TimeSpan.FromSeconds(10),
            map: map => map.MapBroadcast("/ws").Use((context, next) =>
            {
                Interlocked.Increment(ref messages);
                return next(context);
            }));
        await using var client = await EventClient.OpenAsync(app);
        await client.SendAsync(ClientFrame.CreateText("no frame here"));

        for (var i = 0; i < 20; i++)
        {
            time.Advance(TimeSpan.FromSeconds(5));
            await app.Broadcaster.PublishAsync("still here", Recipients.Group("/ws"), cancellationToken: Token);
            Assert.Equal("still here", (await client.NextAsync()).Data);
        }

        Assert.Equal(0, messages);
    }

    [Fact]
    public async Task ConnectFilter_EventStream_SeesReplayAndCanReplyOrRefuse()
    {
        var seen = new ConcurrentQueue<Replay>();
        await using var app = await BroadcastApp.StartAsync(map: map => map.MapBroadcast("/ws").UseConnect(async (context, next) =>
        {
            seen.Enqueue(context.Replay);
            if (context.HttpContext.Request.Headers["X-No"].Count > 0) return;
            await next(context);
            await context.ReplyAsync("welcome");
        }));
        await using var client = await EventClient.OpenAsync(app, after: "00000000000000ff-7");
        Assert.Equal("missed", (await client.NextAsync()).Type);
        Assert.Equal(["welcome"], await client.ReceiveTextAsync(1));
        Assert.Equal([Replay.After(new(255, 7))], seen);

        await using var refused = await EventClient.AskAsync(app, headers: [("Accept", "text/event-stream"), ("X-No", "1")]);
        // A browser does not reconnect after this status.
        Assert.Equal(403, refused.Status);
        Assert.Equal("The server rejected the connection.\n", await refused.ReadTextAsync());
        await Eventually.True(() => app.Registry.Count == 1);
    }

    [Fact]
    public async Task ConnectFilter_ThrowsForEventStream_ClosesWithCode1011()
    {
        await using var app = await BroadcastApp.StartAsync(map: map => map.MapBroadcast("/ws").UseConnect((_, _) => throw new InvalidOperationException("boom")));
        await using var client = await EventClient.AskAsync(app, headers: ("Accept", "text/event-stream"));
        Assert.Equal($"1011 {CloseReasons.Failed}", await client.ReadCloseAsync());
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Contains("boom", Assert.Single(app.Logs.GetSnapshot(), record => record.Exception is not null).Exception!.Message, StringComparison.Ordinal);
    }

    internal static Task Attached(BroadcastApp app, int count) => Eventually.True(() =>
        app.Registry.Connections.Cast<Connection>().Count(connection => connection.WasOpened) == count);
}
