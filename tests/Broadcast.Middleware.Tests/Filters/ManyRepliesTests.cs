using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;

namespace Broadcast.Middleware.Tests.Filters;

/// <summary>Tests filters that send more messages to one client than its backlog can hold.</summary>
public sealed class ManyRepliesTests
{
    const int Rows = 20_000;

    static readonly string Padding = new('x', 490);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ReplyAsync_TenMegabytesOfRowsToFastClient_ReachesClient()
    {
        var recipients = 0;
        await using var app = await StartAsync(async context =>
        {
            for (var i = 0; i < Rows; i++) recipients += (await context.ReplyAsync($"{i:000000} {Padding}")).LocalRecipients;
        });
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);

        for (var i = 0; i < Rows; i++)
        {
            var row = await client.ReadFrameAsync();
            Assert.True(row.Opcode == ClientFrame.Text && row.Text.StartsWith($"{i:000000} ", StringComparison.Ordinal), $"Row {i}: opcode {row.Opcode}, code {row.CloseCode}.");
        }

        Assert.Equal(Rows, recipients);
        await client.AssertOpenAsync();
        LogAssert.NoErrors(app);
    }

    /// <summary>
    /// Tests the order of replies and group messages. A group message must arrive after the earlier rows and before the
    /// later rows.
    /// </summary>
    [Fact]
    public async Task ReplyAsync_MoreBytesThanBacklog_KeepsOrderWithGroupMessages()
    {
        await using var app = await StartAsync(async context =>
        {
            await context.JoinAsync("prices");
            for (var i = 0; i < Rows / 4; i++)
            {
                await context.ReplyAsync($"{2 * i} {Padding}");
                if (i % 500 == 0) await context.Broadcaster.PublishAsync($"{(2 * i) + 1}", Recipients.Group("prices"));
            }
        });
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync();

        for (var i = 0; i < Rows / 4; i++)
        {
            Assert.Equal($"{2 * i} {Padding}", (await client.ReadFrameAsync()).Text);
            if (i % 500 == 0) Assert.Equal($"{(2 * i) + 1}", (await client.ReadFrameAsync()).Text);
        }
    }

    [Fact]
    public async Task ReplyAsync_ClientDoesNotRead_ReportsNoRecipientAfterSendTimeout()
    {
        var ended = new TaskCompletionSource<int>();
        await using var app = await StartAsync(
            context => SendUntilGoneAsync(context, ended),
            Stall.SmallSendBuffers,
            options => options.SendTimeout = TimeSpan.FromSeconds(1));
        using var meters = new Meters(app);
        await using var client = await RawClient.ConnectAsync(app, receiveBuffer: Stall.SmallWindow);
        await client.HandshakeAsync();

        Assert.InRange(await ended.Task.WaitAsync(Eventually.Patience, Token), 100, Rows - 1);
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Equal(new Dictionary<string, long> { ["send_timeout"] = 1 }, meters.ByReason(Meters.Ended));
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ReplyAsync_ClientDisconnects_ReportsNoRecipient(bool isEventStream)
    {
        var ended = new TaskCompletionSource<int>();
        await using var app = await StartAsync(context => SendUntilGoneAsync(context, ended), Stall.SmallSendBuffers);
        var client = await RawClient.ConnectAsync(app, receiveBuffer: Stall.SmallWindow);
        if (isEventStream) await client.SendAsync("GET /ws HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"u8.ToArray());
        else await client.HandshakeAsync();
        await client.ReadAsync(10_000);

        client.Reset();

        Assert.InRange(await ended.Task.WaitAsync(Eventually.Patience, Token), 1, Rows - 1);
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task ReplyAsync_AppClosesConnectionDuringReply_ReportsNoRecipient()
    {
        var ended = new TaskCompletionSource<int>();
        await using var app = await StartAsync(
            context => SendUntilGoneAsync(context, ended), Stall.SmallSendBuffers, options => options.CloseTimeout = TimeSpan.FromSeconds(1));
        await using var client = await RawClient.ConnectAsync(app, receiveBuffer: Stall.SmallWindow);
        await client.HandshakeAsync();
        await client.ReadFrameAsync();

        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, cancellationToken: Token);

        Assert.InRange(await ended.Task.WaitAsync(Eventually.Patience, Token), 1, Rows - 1);
        await Eventually.True(() => app.Registry.Count == 0);
    }

    [Fact]
    public async Task ReplyAsync_Canceled_Throws()
    {
        var ended = new TaskCompletionSource<Exception?>();
        await using var app = await StartAsync(
            async context =>
            {
                using var canceled = new CancellationTokenSource(TimeSpan.FromSeconds(1));
                ended.SetResult(await Record.ExceptionAsync(async () =>
                {
                    for (var i = 0; i < Rows; i++) await context.ReplyAsync($"{i} {Padding}", canceled.Token);
                }));
            },
            Stall.SmallSendBuffers);
        await using var client = await RawClient.ConnectAsync(app, receiveBuffer: Stall.SmallWindow);
        await client.HandshakeAsync();

        Assert.IsAssignableFrom<OperationCanceledException>(await ended.Task.WaitAsync(Eventually.Patience, Token));
    }

    [Fact]
    public async Task ReplyAsync_AfterClose_ReportsNoRecipient()
    {
        var result = new TaskCompletionSource<PublishResult>();
        await using var app = await StartAsync(async context =>
        {
            Assert.Equal(1, (await context.ReplyAsync("last")).LocalRecipients);
            context.Close(WebSocketCloseStatus.NormalClosure);
            result.SetResult(await context.ReplyAsync("too late"));
        });
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync();

        Assert.Equal("last", (await client.ReadFrameAsync()).Text);
        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);
        Assert.Equal(0, (await result.Task).LocalRecipients);
    }

    static async Task SendUntilGoneAsync(ConnectContext context, TaskCompletionSource<int> ended)
    {
        var sent = 0;
        while (sent < Rows && (await context.ReplyAsync($"{sent} {Padding}")).LocalRecipients == 1) sent++;
        ended.SetResult(sent);
    }

    static Task<BroadcastApp> StartAsync(
        Func<ConnectContext, Task> onConnect,
        Action<WebApplicationBuilder>? configure = null,
        Action<BroadcastOptions>? options = null) => BroadcastApp.StartAsync(
        configure,
        app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
        {
            await onConnect(context);
            await next(context);
        }),
        options);
}
