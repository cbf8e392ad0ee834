using System.Diagnostics;
using Broadcast.Middleware.Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>Tests that the spans of a message on several nodes belong to the trace of the publisher.</summary>
public sealed class ClusterTracingTests
{
    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task PublishToGroup_MembersOnTwoNodes_HasOneDeliverSpanPerNode()
    {
        using var recorder = new SpanRecorder();
        await using (var one = await StartAsync(recorder))
        await using (var two = await StartAsync(recorder))
        {
            await using var ann = await RawClient.OpenAsync(one);
            await using var bob = await RawClient.OpenAsync(two);
            await using var joe = await RawClient.OpenAsync(two);
            using var caller = recorder.StartCaller();
            await BroadcasterOf(one, recorder).PublishAsync(Message.FromText("hello"), Recipients.Group("/ws"), Token);

            foreach (var client in new[] { ann, bob, joe }) Assert.Equal("hello", (await client.ReadFrameAsync()).Text);
            var publish = Assert.Single(await recorder.WaitForAsync(1, "publish"));
            var delivers = await recorder.WaitForAsync(2, "deliver");
            Assert.All(delivers, span =>
            {
                Assert.Equal((caller.TraceId, publish.SpanId), (span.TraceId, span.ParentSpanId));
                Assert.Equal(ActivityKind.Consumer, span.Kind);
                Assert.Equal("/ws", span.GetTagItem("messaging.destination.name"));
                Assert.True(span.HasRemoteParent);
            });
        }

        Assert.Equal(3, recorder.Spans.Length);
    }

    [Fact]
    public async Task DeliverSpan_MessageOfClientOnOtherNode_BelongsToTraceOfMessage()
    {
        using var recorder = new SpanRecorder();
        await using var one = await StartAsync(recorder);
        await using var two = await StartAsync(recorder);
        await using var ann = await RawClient.OpenAsync(one);
        await using var bob = await RawClient.OpenAsync(two);
        await ann.SendAsync(ClientFrame.CreateText("hello"));

        var message = Assert.Single(await recorder.WaitForAsync(1, "process"));
        Assert.All(await recorder.WaitForAsync(2, "deliver"), span => Assert.Equal((message.TraceId, message.SpanId), (span.TraceId, span.ParentSpanId)));
    }

    [Fact]
    public async Task PublishToUser_ConnectedToOtherNode_HasOneDeliverSpan()
    {
        using var recorder = new SpanRecorder();
        await using var one = await StartAsync(recorder);
        await using var two = await StartAsync(recorder);
        await using var ann = await RawClient.ConnectAsync(two);
        await ann.HandshakeAsync("/ws", TestUsers.As("ann"));
        await ann.JoinedAsync();
        await BroadcasterOf(one, recorder).PublishAsync(Message.FromText("hello"), Recipients.User("ann"), Token);

        Assert.Equal("hello", (await ann.ReadFrameAsync()).Text);
        var publish = Assert.Single(await recorder.WaitForAsync(1, "publish"));
        var deliver = Assert.Single(await recorder.WaitForAsync(1, "deliver"));
        Assert.Equal((publish.TraceId, publish.SpanId, null), (deliver.TraceId, deliver.ParentSpanId, deliver.GetTagItem("messaging.destination.name")));
    }

    [Fact]
    public async Task Publish_Fails_MarksSpanAsError()
    {
        using var recorder = new SpanRecorder();
        await using var app = await StartAsync(recorder, new FaultyBackplane(_cluster.CreateNode()) { UnreachableGroup = "/ws" });

        await Assert.ThrowsAsync<BackplaneException>(async () =>
            await BroadcasterOf(app, recorder).PublishAsync(Message.FromText("hello"), Recipients.Group("/ws"), Token));

        var span = Assert.Single(recorder.Spans);
        Assert.Equal((ActivityStatusCode.Error, typeof(BackplaneException).FullName), (span.Status, span.GetTagItem("error.type")));
    }

    [Theory]
    [InlineData("not a trace")]
    [InlineData("")]
    public async Task Delivery_InvalidTraceParent_StillReachesMembers(string traceParent)
    {
        using var recorder = new SpanRecorder();
        await using var app = await StartAsync(recorder);
        await using var ann = await RawClient.OpenAsync(app);
        var message = new ClusterMessage(Message.FromText("hello"), [], DateTimeOffset.UtcNow, 0) { TraceParent = traceParent };
        await app.Services.GetRequiredKeyedService<IBackplane>(recorder.Name).PublishAsync("/ws", message.Encode(), null, null, Token);

        Assert.Equal("hello", (await ann.ReadFrameAsync()).Text);
        Assert.Empty(recorder.Spans);
    }

    static IBroadcaster BroadcasterOf(BroadcastApp app, SpanRecorder recorder) =>
        app.Services.GetRequiredKeyedService<IBroadcaster>(recorder.Name);

    Task<BroadcastApp> StartAsync(SpanRecorder recorder, IBackplane? backplane = null) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddBroadcast(recorder.Name).AddInMemoryCluster(_cluster);
            if (backplane is not null) builder.Services.AddKeyedSingleton(recorder.Name, backplane);
        },
        app => app.MapBroadcast("/ws", recorder.Name));
}
