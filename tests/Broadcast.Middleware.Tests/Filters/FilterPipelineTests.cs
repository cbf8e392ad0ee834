using System.Collections.Concurrent;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Filters;

/// <summary>Tests the operations and the order of message, connect and disconnect filters.</summary>
public sealed class FilterPipelineTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Filters_OfBroadcastAndEndpoint_RunOutermostFirst()
    {
        var steps = new ConcurrentQueue<string>();
        await using var app = await TestHosts.StartAsync(
            broadcast: broadcast => broadcast
                .UseConnect(Step<ConnectContext>("a")).Use(Step<MessageContext>("a")).UseDisconnect(Step<DisconnectContext>("a"))
                .UseConnect(Step<ConnectContext>("b")).Use(Step<MessageContext>("b")).UseDisconnect(Step<DisconnectContext>("b")),
            map: map => map.MapBroadcast("/ws")
                .UseConnect(Step<ConnectContext>("c")).Use(Step<MessageContext>("c")).UseDisconnect(Step<DisconnectContext>("c"))
                .UseConnect(Step<ConnectContext>("d")).Use(Step<MessageContext>("d")).UseDisconnect(Step<DisconnectContext>("d")));
        await using var device = await app.ConnectAsync();
        await ExpectAsync("connect");
        await device.SendAsync("x");
        await ExpectAsync("message");
        await device.CloseAsync();
        await ExpectAsync("disconnect");

        async Task ExpectAsync(string stage)
        {
            string[] around = ["a", "b", "c", "d", "end of d", "end of c", "end of b", "end of a"];
            await Eventually.True(() => steps.Count == around.Length);
            Assert.Equal(around.Select(step => $"{stage}: {step}"), steps);
            steps.Clear();
        }

        Func<TContext, FilterDelegate<TContext>, Task> Step<TContext>(string name) where TContext : FilterContext
        {
            var stage = typeof(TContext).Name.Replace("Context", "", StringComparison.Ordinal).ToLowerInvariant();
            return async (context, next) =>
            {
                steps.Enqueue($"{stage}: {name}");
                await next(context);
                steps.Enqueue($"{stage}: end of {name}");
            };
        }
    }

    [Fact]
    public async Task FilterClass_RegisteredOrNot_IsResolvedOrCreated()
    {
        var registered = new Stamp(new Suffix("-registered"));
        await using var app = await TestHosts.StartAsync(
            builder => builder.Services.AddSingleton(new Suffix("-made")),
            broadcast: broadcast => broadcast.Use<Stamp>());
        await using (var device = await app.ConnectAsync())
        {
            await device.SendAsync("x");
            Assert.Equal("x-made", await device.ReceiveTextAsync());
        }

        await using var other = await TestHosts.StartAsync(
            builder => builder.Services.AddSingleton(registered),
            map: map => map.MapBroadcast("/ws").Use<Stamp>().Use<Stamp>());
        await using var another = await other.ConnectAsync();
        await another.SendAsync("x");
        Assert.Equal("x-registered-registered", await another.ReceiveTextAsync());
    }

    [Fact]
    public async Task FilterClass_MissingService_ErrorNamesTheService()
    {
        var error = await Record.ExceptionAsync(async () =>
        {
            await using var app = await TestHosts.StartAsync(map: map => map.MapBroadcast("/ws").Use<Stamp>());
            await using var device = await app.ConnectAsync();
        });
        Assert.Contains(nameof(Suffix), error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task FilterClass_SeveralConnections_IsCreatedPerEvent()
    {
        var made = new Made();
        await using var app = await TestHosts.StartAsync(
            builder => builder.Services.AddSingleton(made),
            broadcast: broadcast => broadcast.Use<Counted>(),
            map: map =>
            {
                map.MapBroadcast("/a");
                map.MapBroadcast("/b");
            });
        // Each endpoint creates the filter once at startup, so that the app reports a missing service at startup.
        Assert.Equal(2, made.Count);
        for (var i = 0; i < 5; i++)
        {
            await using var a = await app.ConnectAsync("/a");
            await using var b = await app.ConnectAsync("/b");
            await a.SendAsync("x");
            Assert.Equal("x", await a.ReceiveTextAsync());
        }

        // Each pair of connections causes two connect events, one message event and two disconnect events.
        await Eventually.True(() => made.Count == 2 + (5 * 5));
    }

    [Fact]
    public async Task MessageFilter_ChangesMessage_PublishesChangedMessage()
    {
        await using var app = await WithAsync((context, next) =>
        {
            if (context.Message.Type == MessageType.Text) context.Text = context.Text.ToUpperInvariant();
            else context.Message = new Message(new byte[] { 1, 2, 3 }, MessageType.Binary);
            return next(context);
        });
        await using var device = await app.ConnectAsync();
        await device.SendAsync("hello");
        Assert.Equal("HELLO", await device.ReceiveTextAsync());
        await device.SendAsync(new byte[] { 9 });
        var changed = await device.ReceiveAsync();
        Assert.Equal([1, 2, 3], changed.Payload.ToArray());
        Assert.Equal(MessageType.Binary, changed.Type);
    }

    [Fact]
    public async Task MessageContextText_SetOnBinaryMessage_ChangesMessageToText()
    {
        await using var app = await WithAsync((context, next) =>
        {
            context.Text = context.Text + "!";
            return next(context);
        });
        await using var device = await app.ConnectAsync();
        await device.SendAsync("ä"u8.ToArray());
        Assert.Equal("ä!", await device.ReceiveTextAsync());
    }

    [Fact]
    public async Task MessageFilter_ChangesRecipients_RedirectsOnlyThatMessage()
    {
        await using var app = await WithAsync((context, next) =>
        {
            if (context.Text.StartsWith('@')) context.Recipients = Recipients.User(context.Text[1..]);
            if (context.Text == "*") context.Recipients = Recipients.Everyone;
            return next(context);
        }, "/rooms/{room}");
        await using var ann = await app.ConnectAsync("/rooms/a", "ann");
        await using var bob = await app.ConnectAsync("/rooms/b", "bob");
        await ann.SendAsync("@bob");
        await ann.SendAsync("home");
        await ann.SendAsync("*");
        Assert.Equal(["home", "*"], [await ann.ReceiveTextAsync(), await ann.ReceiveTextAsync()]);
        Assert.Equal(["@bob", "*"], [await bob.ReceiveTextAsync(), await bob.ReceiveTextAsync()]);
    }

    [Fact]
    public async Task MessageFilter_DoesNotCallNext_DropsMessage()
    {
        await using var app = await WithAsync((context, next) => context.Text == "secret" ? Task.CompletedTask : next(context));
        await using var device = await app.ConnectAsync();
        await device.SendAsync("secret");
        await device.SendAsync("x");
        Assert.Equal("x", await device.ReceiveTextAsync());
    }

    [Fact]
    public async Task ReplyAsync_InMessageFilter_ReachesOnlySender()
    {
        await using var app = await WithAsync(async (context, next) =>
        {
            await context.ReplyAsync("before");
            await next(context);
            await context.ReplyAsync(new Message(new byte[] { 7 }, MessageType.Binary));
        });
        await using var sender = await app.ConnectAsync();
        await using var other = await app.ConnectAsync();
        await sender.SendAsync("x");
        Assert.Equal("before", await sender.ReceiveTextAsync());
        Assert.Equal("x", await sender.ReceiveTextAsync());
        Assert.Equal([7], (await sender.ReceiveAsync()).Payload.ToArray());
        Assert.Equal("x", await other.ReceiveTextAsync());
        await other.SendAsync("y");
        Assert.Equal("y", await other.ReceiveTextAsync() is "before" ? await other.ReceiveTextAsync() : "");
    }

    [Fact]
    public async Task ExcludeSender_InMessageFilter_SendsOnlyToOtherMembers()
    {
        var results = new ConcurrentQueue<PublishResult>();
        await using var app = await WithAsync(async (context, next) =>
        {
            if (context.Text == "others") context.ExcludeSender();
            await next(context);
            results.Enqueue(context.Result);
        });
        await using var sender = await app.ConnectAsync();
        await using var other = await app.ConnectAsync();
        await sender.SendAsync("others");
        await sender.SendAsync("all");
        Assert.Equal("all", await sender.ReceiveTextAsync());
        Assert.Equal(["others", "all"], [await other.ReceiveTextAsync(), await other.ReceiveTextAsync()]);
        await sender.PingAsync();
        Assert.Equal([1, 2], results.Select(result => result.LocalRecipients));
        Assert.Equal([1, 2], results.Select(result => result.Position!.Value.Offset));
    }

    [Fact]
    public async Task ExcludeSender_WithOtherExclusions_KeepsAllExclusions()
    {
        var excluded = "";
        await using var app = await WithAsync((context, next) =>
        {
            context.Recipients = context.Recipients.Except(excluded);
            context.ExcludeSender();
            return next(context);
        });
        await using var sender = await app.ConnectAsync();
        await using var other = await app.ConnectAsync();
        await using var hearer = await app.ConnectAsync();
        excluded = other.Id;
        await sender.SendAsync("x");
        Assert.Equal("x", await hearer.ReceiveTextAsync());
        await app.Broadcaster.PublishAsync("end", cancellationToken: Token);
        foreach (var device in new[] { sender, other, hearer }) Assert.Equal("end", await device.ReceiveTextAsync());
    }

    [Fact]
    public async Task MessageContext_Properties_DescribeConnection()
    {
        MessageContext? seen = null;
        var isScoped = false;
        await using var app = await TestHosts.StartAsync(
            builder => builder.Services.AddScoped<Made>(),
            broadcast: broadcast => broadcast.Use((context, next) =>
            {
                (seen, isScoped) = (context, context.Services.GetRequiredService<Made>() == context.Services.GetRequiredService<Made>());
                return next(context);
            }));
        await using var device = await app.ConnectAsync(userId: "ann");
        await device.SendAsync("x");
        await device.ReceiveTextAsync();
        Assert.Same(device.Connection, seen!.Connection);
        Assert.Same(app.Broadcaster, seen.Broadcaster);
        Assert.Equal(Recipients.Group("/ws"), seen.Recipients);
        Assert.True(isScoped);
        Assert.Equal("ann", seen.Connection.UserId);
        Assert.Equal(22, device.Id.Length);
    }

    [Fact]
    public async Task ContextClose_AfterNext_SendsMessageThenCloseCode()
    {
        await using var app = await WithAsync(async (context, next) =>
        {
            await next(context);
            context.Close((WebSocketCloseStatus)4002, "that was the last one");
        });
        await using var device = await app.ConnectAsync();
        await device.SendAsync("x");
        await device.SendAsync("too late");
        Assert.Equal("x", await device.ReceiveTextAsync());
        Assert.Equal((4002, "that was the last one"), await device.ReceiveCloseAsync());
    }

    [Fact]
    public async Task ContextClose_InvalidCodeOrReason_Throws()
    {
        var errors = new ConcurrentQueue<Exception>();
        await using var app = await WithAsync((context, next) =>
        {
            errors.Enqueue(Assert.Throws<ArgumentException>(() => context.Close((WebSocketCloseStatus)1006)));
            errors.Enqueue(Assert.Throws<ArgumentException>(() => context.Close(WebSocketCloseStatus.NormalClosure, new string('x', 124))));
            return next(context);
        });
        await using var device = await app.ConnectAsync();
        await device.SendAsync("x");
        Assert.Equal("x", await device.ReceiveTextAsync());
        Assert.Equal(2, errors.Count);
    }

    [Fact]
    public async Task MessageFilter_StillRuns_BlocksOnlyMessagesOfSameClient()
    {
        var release = new TaskCompletionSource();
        await using var app = await WithAsync(async (context, next) =>
        {
            if (context.Text == "wait") await release.Task;
            await next(context);
        });
        await using var waiting = await app.ConnectAsync();
        await using var other = await app.ConnectAsync();
        await waiting.SendAsync("wait");
        await waiting.SendAsync("after");
        await other.SendAsync("x");
        Assert.Equal("x", await other.ReceiveTextAsync());
        Assert.Equal("x", await waiting.ReceiveTextAsync());
        release.SetResult();
        Assert.Equal(["wait", "after"], [await other.ReceiveTextAsync(), await other.ReceiveTextAsync()]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task MessageFilter_Throws_ClosesOnlyThatConnectionWithCode1011(bool atOnce)
    {
        await using var app = await WithAsync(async (context, next) =>
        {
            if (!atOnce) await Task.Yield();
            if (context.Text == "throw") throw new InvalidOperationException("a filter's error");
            await next(context);
        });
        await using var failing = await app.ConnectAsync();
        await using var other = await app.ConnectAsync();
        await failing.SendAsync("throw");
        await failing.SendAsync("too late");
        Assert.Equal((1011, CloseReasons.Failed), await failing.ReceiveCloseAsync());
        await Eventually.True(() => app.Registry.Count == 1);
        await other.SendAsync("x");
        Assert.Equal("x", await other.ReceiveTextAsync());
        Assert.Equal("a filter's error", Assert.Single(app.Errors).Exception!.Message);
    }

    [Fact]
    public async Task MessageFilter_ThrowsAfterNext_PublishesThenClosesWithCode1011()
    {
        await using var app = await WithAsync(async (context, next) =>
        {
            await next(context);
            throw new InvalidOperationException("too late");
        });
        await using var failing = await app.ConnectAsync();
        await failing.SendAsync("x");
        Assert.Equal("x", await failing.ReceiveTextAsync());
        Assert.Equal(1011, (await failing.ReceiveCloseAsync()).Code);
    }

    [Fact]
    public async Task MessageFilter_SetsInvalidUtf8Text_ClosesWithCode1011()
    {
        await using var app = await WithAsync((context, next) =>
        {
            context.Message = new Message(context.Message.Payload, MessageType.Text);
            return next(context);
        });
        await using var failing = await app.ConnectAsync();
        await using var other = await app.ConnectAsync();
        await other.SendAsync(new byte[] { 0x41 });
        Assert.Equal("A", await other.ReceiveTextAsync());
        Assert.Equal("A", await failing.ReceiveTextAsync());
        await failing.SendAsync(new byte[] { 0xFF, 0xFE });
        Assert.Equal(1011, (await failing.ReceiveCloseAsync()).Code);
        Assert.IsType<ArgumentException>(Assert.Single(app.Errors).Exception);
        await other.SendAsync("x");
        Assert.Equal("x", await other.ReceiveTextAsync());
    }

    [Theory]
    [InlineData("long ID")]
    [InlineData("empty key")]
    [InlineData("half of a surrogate pair as key")]
    [InlineData("RemoveKey without key")]
    public async Task MessageFilter_SetsInvalidMetadata_ClosesWithCode1011(string problem)
    {
        await using var app = await WithAsync((context, next) =>
        {
            context.Message = problem switch
            {
                "long ID" => context.Message with { Id = new('x', 129) },
                "empty key" => context.Message with { Key = "" },
                "half of a surrogate pair as key" => context.Message with { Key = "\ud800" },
                _ => context.Message with { RemoveKey = true },
            };
            return next(context);
        });
        await using var failing = await app.ConnectAsync();
        await failing.SendAsync("x");
        Assert.Equal(1011, (await failing.ReceiveCloseAsync()).Code);
        Assert.IsType<ArgumentException>(Assert.Single(app.Errors).Exception);
    }

    [Fact]
    public async Task MessageFilter_SetsMessageWithoutType_ClosesWithCode1011()
    {
        await using var app = await WithAsync((context, next) =>
        {
            context.Message = default;
            return next(context);
        });
        await using var failing = await app.ConnectAsync();
        await failing.SendAsync("x");
        Assert.Equal(1011, (await failing.ReceiveCloseAsync()).Code);
    }

    [Fact]
    public async Task ConnectFilter_DoesNotCallNext_ClosesWithCode1008()
    {
        var disconnects = 0;
        await using var app = await TestHosts.StartAsync(broadcast: broadcast => broadcast
            .UseConnect((context, next) => context.Connection.UserId == "ann" ? next(context) : Task.CompletedTask)
            .UseDisconnect((context, next) =>
            {
                Interlocked.Increment(ref disconnects);
                return next(context);
            }));
        await using var ann = await app.ConnectAsync(userId: "ann");
        await using var refused = await app.ConnectAsync();
        Assert.Equal(1008, (await refused.ReceiveCloseAsync()).Code);
        await Eventually.True(() => app.Registry.Count == 1);
        Assert.Equal(0, disconnects);
        Assert.Equal(1, (await app.Broadcaster.PublishAsync("x", cancellationToken: Token)).LocalRecipients);
        Assert.Empty(app.Errors);
    }

    [Fact]
    public async Task ConnectFilter_CallsClose_ClientReceivesCodeAndReason()
    {
        await using var app = await TestHosts.StartAsync(broadcast: broadcast => broadcast.UseConnect((context, _) =>
        {
            context.Close((WebSocketCloseStatus)4003, "banned");
            return Task.CompletedTask;
        }));
        await using var refused = await app.ConnectAsync();
        Assert.Equal((4003, "banned"), await refused.ReceiveCloseAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    // A client of the test kit cannot send a message after the close frame of the server.
    [Fact]
    public async Task RefusedConnection_SendsMessage_RunsNoMessageFilter()
    {
        var messages = 0;
        await using var app = await InMemoryApp.StartAsync(broadcast: broadcast => broadcast
            .UseConnect((_, _) => Task.CompletedTask)
            .Use((context, next) =>
            {
                Interlocked.Increment(ref messages);
                return next(context);
            }));
        using var refused = new Device(await app.OpenAsync(), null!);
        await refused.SendAsync("let me in");
        await refused.ReceiveCloseAsync();
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Equal(0, messages);
    }

    [Fact]
    public async Task ConnectFilter_RepliesAndJoinsGroup_ClientReceivesRepliesAndGroupMessages()
    {
        await using var app = await TestHosts.StartAsync(broadcast: broadcast => broadcast.UseConnect(async (context, next) =>
        {
            await context.ReplyAsync("welcome");
            await context.Broadcaster.JoinAsync(context.Connection.Id, "vip", Token);
            Assert.Equal(["vip"], context.Connection.Groups);
            await next(context);
            await context.ReplyAsync("you are in");
        }));
        await using var device = await app.ConnectAsync();
        Assert.Equal("welcome", await device.ReceiveTextAsync());
        Assert.Equal("you are in", await device.ReceiveTextAsync());
        Assert.Equal(["/ws", "vip"], device.Connection.Groups.Order(StringComparer.Ordinal));
        Assert.Equal(1, (await app.Broadcaster.PublishAsync("x", Recipients.Group("vip"), cancellationToken: Token)).LocalRecipients);
        Assert.Equal("x", await device.ReceiveTextAsync());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ConnectFilter_Throws_ClosesOnlyThatConnectionWithCode1011(bool beforeNext)
    {
        await using var app = await TestHosts.StartAsync(broadcast: broadcast => broadcast.UseConnect(async (context, next) =>
        {
            if (beforeNext && context.Connection.UserId is null) throw new InvalidOperationException("a filter's error");
            await next(context);
            if (context.Connection.UserId is null) throw new InvalidOperationException("a filter's error");
        }));
        await using var ann = await app.ConnectAsync(userId: "ann");
        await using var failing = await app.ConnectAsync();
        Assert.Equal(1011, (await failing.ReceiveCloseAsync()).Code);
        await Eventually.True(() => app.Registry.Count == 1);
        Assert.Single(app.Errors);
        await ann.SendAsync("x");
        Assert.Equal("x", await ann.ReceiveTextAsync());
    }

    [Fact]
    public async Task DisconnectFilter_Throws_IsLoggedOnceAndConnectionIsRemoved()
    {
        await using var app = await TestHosts.StartAsync(broadcast: broadcast => broadcast.UseDisconnect((_, _) =>
            throw new InvalidOperationException("a filter's error")));
        await using var device = await app.ConnectAsync();
        await using var other = await app.ConnectAsync();
        await device.CloseAsync();
        await Eventually.True(() => app.Errors.Count == 1);
        Assert.Equal(1, app.Registry.Count);
        await other.SendAsync("x");
        Assert.Equal("x", await other.ReceiveTextAsync());
    }

    [Fact]
    public async Task DisconnectFilter_ConnectionEndsForAnyReason_ReceivesStatusAndNoGroups()
    {
        var seen = new ConcurrentQueue<(int? Status, Exception? Exception, int Groups, int Count)>();
        await using var app = await TestHosts.StartAsync(broadcast: broadcast => broadcast.UseDisconnect((context, next) =>
        {
            seen.Enqueue(((int?)context.Status, context.Exception, context.Connection.Groups.Count, context.Broadcaster.Connections.Count));
            return next(context);
        }));
        await using var closing = await app.ConnectAsync();
        await closing.CloseAsync((WebSocketCloseStatus)4004);
        await Eventually.True(() => seen.Count == 1);
        await using var closed = await app.ConnectAsync();
        await app.Broadcaster.CloseAsync(closed.Id, (WebSocketCloseStatus)4005, cancellationToken: Token);
        await closed.ReceiveCloseAsync();
        await Eventually.True(() => seen.Count == 2);
        var broken = await app.ConnectAsync();
        broken.Drop();
        await Eventually.True(() => seen.Count == 3);
        Assert.Equal([4004, 4005, null], seen.Select(end => end.Status));
        Assert.Equal([true, true, false], seen.Select(end => end.Exception is null));
        Assert.All(seen, end => Assert.Equal((0, 0), (end.Groups, end.Count)));
    }

    [Fact]
    public async Task JoinAsync_InDisconnectFilter_ReturnsFalse()
    {
        var joined = new TaskCompletionSource<bool>();
        await using var app = await TestHosts.StartAsync(broadcast: broadcast => broadcast.UseDisconnect(async (context, next) =>
        {
            joined.SetResult(await context.Broadcaster.JoinAsync(context.Connection.Id, "heaven", Token));
            await next(context);
        }));
        await using var device = await app.ConnectAsync();
        await device.CloseAsync();
        Assert.False(await joined.Task.WaitAsync(Eventually.Patience, Token));
        Assert.Equal(0, app.Registry.CountGroupMembers("heaven"));
    }

    [Fact]
    public void Use_NullFilter_Throws()
    {
        var broadcast = new ServiceCollection().AddBroadcast();
        Assert.Throws<ArgumentNullException>("filter", () => broadcast.Use(null!));
        Assert.Throws<ArgumentNullException>("filter", () => broadcast.UseConnect(null!));
        Assert.Throws<ArgumentNullException>("filter", () => broadcast.UseDisconnect(null!));
        Assert.Throws<ArgumentNullException>("builder", () => default(IBroadcastBuilder)!.Use<Stamp>());
    }

    static Task<BroadcastTestHost> WithAsync(Func<MessageContext, FilterDelegate<MessageContext>, Task> filter, string pattern = "/ws") =>
        TestHosts.StartAsync(map: map => map.MapBroadcast(pattern).Use(filter));

    sealed record Suffix(string Text);

    sealed class Made
    {
        public int Count;
    }

    sealed class Stamp(Suffix suffix) : IBroadcastFilter
    {
        public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
        {
            context.Text += suffix.Text;
            return next(context);
        }
    }

    sealed class Counted : IBroadcastFilter
    {
        public Counted(Made made) => Interlocked.Increment(ref made.Count);
    }
}
