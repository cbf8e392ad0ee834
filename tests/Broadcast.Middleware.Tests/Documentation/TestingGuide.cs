using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using NSubstitute;

// The samples do not depend on a test framework, so they do not pass the cancellation token of xUnit.
#pragma warning disable xUnit1051

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/guides/testing.md. The tests of that page run here.</summary>
public sealed class TestingGuide
{
    [Fact]
    public async Task Filter_SecretWord_IsReplaced()
    {
        var test = new FilterTest(new CensorFilter());
        await test.SendAsync("the secret");
        test.Broadcaster.AssertPublished("the ***", Recipients.Group("/ws"));
    }

    [Fact]
    public async Task Filter_ConnectWithoutName_IsRefused()
    {
        var test = new FilterTest(new NameFilter());
        Assert.False(await test.ConnectAsync());
        Assert.True(await test.ConnectAsync(request => request.Request.QueryString = new("?name=ann")));
        Assert.Equal("ann", test.Connection.Items["name"]);
        test.Broadcaster.AssertJoined(test.Connection.Id, "/announcements");
    }

    [Fact]
    public async Task NewsService_BackplaneUnreachable_ReturnsFalse()
    {
        var broadcaster = new RecordingBroadcaster();
        var news = new NewsService(broadcaster);
        Assert.True(await news.TryPublishAsync("rain"));
        broadcaster.AssertPublished("rain", Recipients.Everyone);

        broadcaster.Failure = new BackplaneException("The other nodes are unreachable.");
        Assert.False(await news.TryPublishAsync("sun"));
    }

    [Fact]
    public async Task Filter_MessagePublished_CallsServiceSubstitute()
    {
        var log = Substitute.For<IAuditLog>();
        var services = new ServiceCollection().AddSingleton(log).BuildServiceProvider();
        var test = new FilterTest(new AuditFilter(), services) { Connection = new() { UserId = "ann" } };
        await test.SendAsync("hello");
        log.Received(1).Add("ann", "hello");
    }

    [Fact]
    public async Task Filter_ContextWithSubstitutes_PublishesChangedText()
    {
        var connection = Substitute.For<IBroadcastConnection>();
        connection.HomeGroup.Returns("/chat");
        var context = new MessageContext(connection, Substitute.For<IBroadcaster>(), Message.FromText("the secret"));
        var published = "";

        await new CensorFilter().OnMessageAsync(context, next =>
        {
            published = next.Text;
            return Task.CompletedTask;
        });

        Assert.Equal("the ***", published);
    }

    [Fact]
    public async Task Clients_OfOneUrl_ReceiveMessageOnce()
    {
        await using var host = await BroadcastTestHost.StartAsync();
        var ann = await host.ConnectAsync();
        var bob = await host.ConnectEventStreamAsync();

        await ann.SendAsync("hello");

        Assert.Equal("hello", await ann.ReceiveTextAsync());
        Assert.Equal("hello", await bob.ReceiveTextAsync());
        await ann.ReceiveNothingAsync();
    }

    [Fact]
    public async Task TestHost_FiltersEndpointsAndOptions_ApplyToClients()
    {
        await using var host = await BroadcastTestHost.StartAsync(
            options: options => options.MaxConnectionsPerUser = 1,
            configure: builder => builder.Services.AddScoped<NewsService>(),
            map: app =>
            {
                app.MapBroadcast("/rooms/{room}").Use<CensorFilter>();
                app.MapPost("/news", (string text, NewsService news) => news.TryPublishAsync(text));
            });
        var ann = await host.ConnectAsync("/rooms/blue", userId: "ann");
        using var http = host.CreateHttpClient();

        await http.PostAsync("/news?text=rain", null, TestContext.Current.CancellationToken);

        Assert.Equal("rain", await ann.ReceiveTextAsync());
        var refusal = await Assert.ThrowsAsync<BroadcastTestException>(() => host.ConnectAsync("/rooms/red", userId: "ann"));
        Assert.Equal(429, refusal.StatusCode);
    }

    [Fact]
    public async Task FirstMessageTimeout_NoMessage_ClosesConnectionWithCode1008()
    {
        await using var host = await BroadcastTestHost.StartAsync(options => options.FirstMessageTimeout = TimeSpan.FromSeconds(10));
        var ann = await host.ConnectAsync();

        host.Time.Advance(TimeSpan.FromSeconds(15));

        Assert.Equal(1008, (await ann.ReceiveCloseAsync()).Code);
    }

    [Fact]
    public async Task Backplane_UnreachableDuringPublish_ClosesClientWithCode1013()
    {
        var cluster = new InMemoryCluster();
        await using var one = await BroadcastTestHost.StartAsync(cluster: cluster);
        await using var two = await BroadcastTestHost.StartAsync(cluster: cluster);
        var ann = await one.ConnectAsync();
        var bob = await two.ConnectAsync();
        await ann.SendAsync("hello");
        Assert.Equal("hello", await bob.ReceiveTextAsync());

        two.Backplane.IsReachable = false;
        await bob.SendAsync("lost");

        Assert.Equal(1013, (await bob.ReceiveCloseAsync()).Code);
        Assert.Equal("hello", await ann.ReceiveTextAsync());
        await ann.ReceiveNothingAsync();
    }

    [Fact]
    public async Task SlowClient_OverMaxBacklogBytes_IsClosedWithCode1013()
    {
        await using var host = await BroadcastTestHost.StartAsync(options => options.MaxBacklogBytes = 64 * 1024);
        var slow = await host.ConnectAsync(options: new() { ReceiveBufferBytes = 1024 });
        var fast = await host.ConnectAsync();

        for (var i = 0; i < 20; i++)
        {
            await host.Broadcaster.PublishAsync(new byte[16 * 1024], cancellationToken: TestContext.Current.CancellationToken);
            Assert.Equal(16 * 1024, (await fast.ReceiveAsync()).Payload.Length);
        }

        var closed = await Assert.ThrowsAsync<BroadcastTestException>(async () =>
        {
            for (var i = 0; i < 20; i++) await slow.ReceiveAsync();
        });
        Assert.Equal(1013, closed.CloseCode);
    }

    public sealed class CensorFilter : IBroadcastFilter
    {
        public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
        {
            context.Text = context.Text.Replace("secret", "***");
            return next(context);
        }
    }

    sealed class NameFilter : IBroadcastFilter
    {
        public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
        {
            if (context.HttpContext.Request.Query["name"] is not [{ Length: > 0 } name]) return;
            context.Connection.Items["name"] = name;
            await next(context);
            await context.JoinAsync("/announcements");
        }
    }

    sealed class AuditFilter : IBroadcastFilter
    {
        public async Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
        {
            await next(context);
            context.Services.GetRequiredService<IAuditLog>().Add(context.Connection.UserId, context.Text);
        }
    }

    public interface IAuditLog
    {
        void Add(string? userId, string text);
    }

    sealed class NewsService(IBroadcaster broadcaster)
    {
        public async Task<bool> TryPublishAsync(string text)
        {
            try
            {
                await broadcaster.PublishAsync(text);
                return true;
            }
            catch (BackplaneException)
            {
                return false;
            }
        }
    }
}
