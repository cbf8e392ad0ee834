using System.Net.WebSockets;
using Broadcast.Middleware.Contracts;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Redis.Tests.Diagnostics;

/// <summary>Tests that a trace continues on other nodes. Each node has its own app.</summary>
public sealed class RedisTracingTests(SharedRedis redis) : IDisposable
{
    readonly SpanRecorder _recorder = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _recorder.Dispose();

    [Fact]
    public async Task Publish_MemberOnOtherNode_ContinuesTraceOnThatNode()
    {
        await using var one = await StartAsync(null);
        var joined = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var two = await StartAsync(joined);
        using var client = await two.GetTestServer().CreateWebSocketClient().ConnectAsync(new Uri("ws://localhost/ws"), Token);
        await joined.Task.WaitAsync(TestNode.Patience, Token);
        using var caller = _recorder.StartCaller();
        await one.Services.GetRequiredKeyedService<IBroadcaster>(_recorder.Name).PublishAsync("hello", Recipients.Group("/ws"), cancellationToken: Token);

        var buffer = new byte[100];
        var received = await client.ReceiveAsync(buffer, Token).WaitAsync(TestNode.Patience, Token);
        Assert.Equal("hello", System.Text.Encoding.UTF8.GetString(buffer, 0, received.Count));
        var publish = Assert.Single(await _recorder.WaitForAsync(1, "publish"));
        var deliver = Assert.Single(await _recorder.WaitForAsync(1, "deliver"));
        Assert.Equal((caller.TraceId, caller.SpanId), (publish.TraceId, publish.ParentSpanId));
        Assert.Equal((caller.TraceId, publish.SpanId), (deliver.TraceId, deliver.ParentSpanId));
        Assert.True(deliver.HasRemoteParent);
        Assert.Equal(WebSocketState.Open, client.State);
    }

    async Task<WebApplication> StartAsync(TaskCompletionSource? joined)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseTestServer();
        builder.Services.AddBroadcast(_recorder.Name, static options => options.DrainTimeout = TimeSpan.Zero)
            .AddRedis(redis.Server.Configuration, options => (options.Prefix, options.PublishTimeout) = (_recorder.Name, TimeSpan.FromSeconds(20)));
        var app = builder.Build();
        app.MapBroadcast("/ws", _recorder.Name).UseConnect(async (context, next) =>
        {
            await next(context);
            joined?.SetResult();
        });
        await app.StartAsync(Token);
        return app;
    }
}
