using System.Net;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Testing;

/// <summary>Tests the clients of a <see cref="BroadcastTestHost"/>, and the errors for wrong use of the test kit.</summary>
public sealed class BroadcastTestHostTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Connect_SlowConnectFilter_CompletesAfterJoin()
    {
        await using var host = await StartAsync(broadcast: broadcast => broadcast.UseConnect(async (context, next) =>
        {
            await Task.Yield();
            await next(context);
        }));
        for (var i = 0; i < 50; i++)
        {
            await using var raw = await host.ConnectAsync();
            await using var events = await host.ConnectEventStreamAsync();
            await host.Broadcaster.PublishAsync($"{i}", cancellationToken: Token);
            Assert.Equal($"{i}", await raw.ReceiveTextAsync());
            Assert.Equal($"{i}", await events.ReceiveTextAsync());
        }
    }

    [Fact]
    public async Task Connect_NamedBroadcast_FindsConnection()
    {
        await using var host = await StartAsync(
            builder => builder.Services.AddBroadcast("admin"), app => app.MapBroadcast("/admin", "admin"));
        var raw = await host.ConnectAsync("/admin", userId: "ann");
        var events = await host.ConnectEventStreamAsync("/admin");
        var registry = host.Services.GetRequiredKeyedService<IConnectionRegistry>("admin");
        Assert.Equal("ann", raw.Connection.UserId);
        Assert.Same(registry.Find(events.Connection.Id), events.Connection);
        Assert.Equal(2, registry.CountGroupMembers("/admin"));
    }

    [Fact]
    public async Task Connect_HeadersUserAndAddressSet_ReachServer()
    {
        var (header, user) = ("", "");
        await using var host = await StartAsync(broadcast: broadcast => broadcast.UseConnect((context, next) =>
        {
            (header, user) = (context.HttpContext.Request.Headers["X-Test"]!, context.HttpContext.User.Identity!.Name!);
            return next(context);
        }));
        var options = new TestClientOptions
        {
            RemoteAddress = IPAddress.Parse("192.0.2.1"),
            User = TestClientOptions.CreateUser("id-7", new System.Security.Claims.Claim(System.Security.Claims.ClaimTypes.Name, "ann")),
        };
        options.Headers["X-Test"] = "yes";
        var client = await host.ConnectAsync(options: options);
        Assert.Equal(("yes", "ann", "id-7"), (header, user, client.Connection.UserId));
        Assert.Equal(options.RemoteAddress, client.Connection.RemoteAddress);
    }

    [Fact]
    public async Task Connect_ResponseRepeatsHeader_KeepsAllValues()
    {
        await using var host = await StartAsync(map: app =>
        {
            app.Use((context, next) =>
            {
                context.Response.Headers.SetCookie = new(["a=1", "b=2"]);
                return next(context);
            });
            app.MapBroadcast("/ws");
            app.MapGet("/refused", static context =>
            {
                context.Response.Headers.WWWAuthenticate = new(["Bearer", "Basic"]);
                context.Response.StatusCode = 401;
                return Task.CompletedTask;
            });
        });
        var client = await host.ConnectAsync();
        await host.Broadcaster.PublishAsync("hello", cancellationToken: Token);
        Assert.Equal("hello", await client.ReceiveTextAsync());
        var refusal = await Assert.ThrowsAsync<BroadcastTestException>(() => host.ConnectAsync("/refused"));
        Assert.Equal(401, refusal.StatusCode);
    }

    [Fact]
    public async Task Drop_AnyClient_DisconnectFilterSeesNoCloseCode()
    {
        var ends = System.Threading.Channels.Channel.CreateUnbounded<(WebSocketCloseStatus?, bool)>();
        await using var host = await StartAsync(broadcast: broadcast => broadcast.UseDisconnect(async (context, next) =>
        {
            await ends.Writer.WriteAsync((context.Status, context.Exception is not null));
            await next(context);
        }));
        var raw = await host.ConnectAsync();
        raw.Drop();
        Assert.Equal((null, true), await ReadEndAsync());
        var events = await host.ConnectEventStreamAsync();
        events.Drop();
        Assert.Null((await ReadEndAsync()).Item1);
        var polite = await host.ConnectAsync();
        await polite.CloseAsync((WebSocketCloseStatus)4001, "bye");
        Assert.Equal(((WebSocketCloseStatus)4001, false), await ReadEndAsync());

        Task<(WebSocketCloseStatus?, bool)> ReadEndAsync() => ends.Reader.ReadAsync(Token).AsTask().WaitAsync(Eventually.Patience, Token);
    }

    [Fact]
    public async Task EventStream_LastEventId_RecoversMissedMessages()
    {
        await using var host = await StartAsync(options: options => options.Groups["/ws"] = new() { HistoryMessages = 10 });
        var first = await host.ConnectEventStreamAsync();
        await host.Broadcaster.PublishAsync("1", Recipients.Group("/ws"), cancellationToken: Token);
        Assert.Equal("1", await first.ReceiveTextAsync());
        first.Drop();
        await host.Broadcaster.PublishAsync("2", Recipients.Group("/ws"), cancellationToken: Token);
        var second = await host.ConnectEventStreamAsync(lastEventId: first.LastEventId);
        Assert.Equal("2", await second.ReceiveTextAsync());
    }

    [Fact]
    public async Task StructuredClient_Requests_DeliverMessagesOrThrowWithErrorName()
    {
        await using var host = await StartAsync(
            builder => builder.Services.AddSingleton<IGroupAuthorizer>(new Rules((group, _) => group == "g")),
            broadcast: broadcast => broadcast.Use((context, next) =>
                context.Event == "hello" ? context.ReplyAsync("world").AsTask() : next(context)));
        var ann = await host.ConnectStructuredAsync(userId: "ann");
        var bob = await host.ConnectStructuredAsync();
        await ann.JoinGroupAsync("g");
        await bob.JoinGroupAsync("g");
        await ann.SendToGroupAsync("g", "hi");
        var message = await bob.ReceiveAsync();
        Assert.Equal(("g", "ann", "text", "hi"), (message.Group, message.FromUserId, message.DataType, message.Data));
        // The client keeps the copy of its own message that arrives before the acknowledgement.
        Assert.Equal("hi", await ann.ReceiveTextAsync());
        await ann.SendEventAsync("hello", "");
        Assert.Equal("world", await ann.ReceiveTextAsync());
        await bob.ReceiveNothingAsync();
        var refused = await Assert.ThrowsAsync<BroadcastTestException>(() => ann.JoinGroupAsync("secret"));
        Assert.Equal("Forbidden", refused.ErrorName);
        var unknown = await Assert.ThrowsAsync<BroadcastTestException>(() => ann.SendEventAsync("other", ""));
        Assert.Equal("BadRequest", unknown.ErrorName);
        await bob.LeaveGroupAsync("g");
        await ann.SendToGroupAsync("g", "later");
        await bob.ReceiveNothingAsync();
        await host.Broadcaster.PublishAsync(new { n = 1 }, Recipients.Connection(bob.Connection.Id), cancellationToken: Token);
        Assert.Equal("""json from the app: {"n":1}""", (await bob.ReceiveAsync()).ToString());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(125)]
    [InlineData(126)]
    [InlineData(16 * 1024)]
    [InlineData(65_536)]
    [InlineData(200_000)]
    public async Task Message_AnySize_ArrivesUnchanged(int size)
    {
        await using var host = await StartAsync(options: options => options.MaxMessageBytes = 256 * 1024);
        var ann = await host.ConnectAsync(options: new() { ReceiveBufferBytes = 1000 });
        var bytes = new byte[size];
        new Random(size).NextBytes(bytes);
        await ann.SendAsync(bytes);
        Assert.Equal(bytes, (await ann.ReceiveAsync()).Payload.ToArray());
        await ann.SendAsync("end");
        Assert.Equal("end", await ann.ReceiveTextAsync());
    }

    [Fact]
    public async Task SendTimeout_ClientThatDoesNotRead_IsDisconnected()
    {
        await using var host = await StartAsync(options: options => options.SendTimeout = TimeSpan.FromSeconds(10));
        var stalled = await host.ConnectAsync(options: new() { ReceiveBufferBytes = 1 });
        await host.Broadcaster.PublishAsync(new byte[64 * 1024], cancellationToken: Token);
        // A heartbeat of the server can come before the write stalls. So advance the clock until the server has noticed
        // the stall.
        await Eventually.True(() =>
        {
            host.Time.Advance(TimeSpan.FromSeconds(5));
            return host.Services.GetRequiredService<IConnectionRegistry>().Count == 0;
        });
        await Assert.ThrowsAsync<BroadcastTestException>(stalled.ReceiveAsync);
    }

    [Fact]
    public async Task Stop_ConnectedClients_AreClosedWithCode1001()
    {
        await using var host = await StartAsync();
        var raw = await host.ConnectAsync();
        var events = await host.ConnectEventStreamAsync();
        var stopping = host.StopAsync();
        Assert.Equal(1001, (await raw.ReceiveCloseAsync()).Code);
        Assert.Equal(1001, (await events.ReceiveCloseAsync()).Code);
        await stopping;
        var error = await Assert.ThrowsAsync<BroadcastTestException>(() => host.ConnectAsync());
        Assert.Contains("Start a new host", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Receive_UnexpectedResult_ErrorNamesResultAndFix()
    {
        await using var host = await StartAsync();
        var ann = await host.ConnectAsync();
        await host.Broadcaster.PublishAsync(new byte[] { 1, 2 }, cancellationToken: Token);
        await FailsAsync(ann.ReceiveTextAsync, "binary message of 2 bytes. Call ReceiveAsync");
        await host.Broadcaster.PublishAsync("extra", cancellationToken: Token);
        await FailsAsync(ann.ReceiveNothingAsync, "received the text 'extra'");
        await FailsAsync(() => ann.ReceiveCloseAsync(), "received the text 'extra'");
        Assert.Equal("extra", await ann.ReceiveTextAsync());
        await host.Broadcaster.CloseAsync(ann.Connection.Id, (WebSocketCloseStatus)4002, "full", Token);
        Assert.Equal(4002, (await FailsAsync(ann.ReceiveTextAsync, "code 4002 and the reason 'full'")).CloseCode);
        Assert.Equal((4002, "full"), await ann.ReceiveCloseAsync());
        await FailsAsync(() => ann.SendAsync("late"), "code 4002");
        Assert.Equal(404, (await FailsAsync(() => host.ConnectAsync("/wrong"), "MapBroadcast")).StatusCode);
        Assert.Equal(404, (await FailsAsync(() => host.ConnectEventStreamAsync("/wrong"), "MapBroadcast")).StatusCode);
        Assert.Contains("'/'", (await Assert.ThrowsAsync<ArgumentException>(() => host.ConnectAsync("ws"))).Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<ArgumentException>(() => host.ConnectAsync(userId: "a", options: new() { User = TestClientOptions.CreateUser("b") }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new TestClientOptions { ReceiveBufferBytes = 0 });
        Assert.Throws<ArgumentOutOfRangeException>(() => host.Timeout = TimeSpan.Zero);
    }

    /// <summary>
    /// ReceiveNothingAsync waits for a marker message. Without a marker, some calls would miss a message, because a
    /// pong can overtake messages.
    /// </summary>
    [Fact]
    public async Task ReceiveNothing_MessagePublishedBefore_AlwaysFails()
    {
        await using var host = await StartAsync();
        var raw = await host.ConnectAsync(options: new() { ReceiveBufferBytes = 1 });
        var structured = await host.ConnectStructuredAsync();
        var events = await host.ConnectEventStreamAsync();
        for (var i = 0; i < 50; i++)
        {
            await host.Broadcaster.PublishAsync($"{i}", cancellationToken: Token);
            await FailsAsync(raw.ReceiveNothingAsync, $"'{i}'");
            await FailsAsync(structured.ReceiveNothingAsync, $"{i}");
            await FailsAsync(events.ReceiveNothingAsync, $"{i}");
            Assert.Equal($"{i}", await raw.ReceiveTextAsync());
            Assert.Equal($"{i}", await structured.ReceiveTextAsync());
            Assert.Equal($"{i}", await events.ReceiveTextAsync());
            await raw.ReceiveNothingAsync();
            await structured.ReceiveNothingAsync();
            await events.ReceiveNothingAsync();
        }
    }

    [Fact]
    public async Task ReceiveNothing_ClosedConnection_Fails()
    {
        await using var host = await StartAsync();
        var raw = await host.ConnectAsync();
        var events = await host.ConnectEventStreamAsync();
        await host.Broadcaster.CloseAsync(raw.Connection.Id, (WebSocketCloseStatus)4001, cancellationToken: Token);
        await host.Broadcaster.CloseAsync(events.Connection.Id, (WebSocketCloseStatus)4001, cancellationToken: Token);
        await FailsAsync(raw.ReceiveNothingAsync, "code 4001");
        await FailsAsync(events.ReceiveNothingAsync, "event 'close': 4001");
        await FailsAsync(events.ReceiveNothingAsync, "event 'close': 4001");
        Assert.Equal(4001, (await events.ReceiveCloseAsync()).Code);
        await FailsAsync(events.ReceiveNothingAsync, "The client expected an open stream, but the event stream ended.");
    }

    [Fact]
    public async Task Client_WrongUse_ErrorNamesFix()
    {
        await using var host = await StartAsync();
        var ann = await host.ConnectAsync();
        var waiting = ann.ReceiveTextAsync();
        var overlap = await Assert.ThrowsAsync<InvalidOperationException>(ann.ReceiveTextAsync);
        Assert.Contains("Await each call", overlap.Message, StringComparison.Ordinal);
        // A client can send while it waits for a message.
        await ann.SendAsync("first");
        Assert.Equal("first", await waiting);
        await Assert.ThrowsAsync<ArgumentException>(() => ann.CloseAsync(reason: new string('x', 124)));
        ann.Drop();
        await FailsAsync(ann.ReceiveTextAsync, "Drop");
        await FailsAsync(() => ann.SendAsync("late"), "Drop");
        await FailsAsync(() => ann.CloseAsync(), "Drop");
        var options = new TestClientOptions();
        options.Headers["X-Test"] = "a\r\nb";
        var header = await Assert.ThrowsAsync<ArgumentException>(() => host.ConnectAsync(options: options));
        Assert.Contains("'X-Test'", header.Message, StringComparison.Ordinal);
        var path = await Assert.ThrowsAsync<ArgumentException>(() => host.ConnectEventStreamAsync("/ws?name=a b"));
        Assert.Contains("EscapeDataString", path.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Receive_NoMessage_TimesOut()
    {
        await using var host = await StartAsync();
        host.Timeout = TimeSpan.FromMilliseconds(1);
        // The short timeout can also end the connection attempt.
        await Assert.ThrowsAsync<TimeoutException>(async () => await (await host.ConnectAsync()).ReceiveAsync());
    }

    [Fact]
    public async Task Time_AppRegistersTimeProvider_ThrowsAndNamesTimeProvider()
    {
        await using var host = await StartAsync(builder => builder.Services.AddSingleton(TimeProvider.System));
        Assert.Contains("TimeProvider", Assert.Throws<InvalidOperationException>(() => host.Time).Message, StringComparison.Ordinal);
    }

    static Task<BroadcastTestHost> StartAsync(
        Action<WebApplicationBuilder>? configure = null,
        Action<WebApplication>? map = null,
        Action<BroadcastOptions>? options = null,
        Action<IBroadcastBuilder>? broadcast = null) =>
        BroadcastTestHost.StartAsync(options, broadcast, configure, map, cancellationToken: Token);

    static async Task<BroadcastTestException> FailsAsync(Func<Task> act, string text)
    {
        var error = await Assert.ThrowsAsync<BroadcastTestException>(act);
        Assert.Contains(text, error.Message, StringComparison.Ordinal);
        return error;
    }
}
