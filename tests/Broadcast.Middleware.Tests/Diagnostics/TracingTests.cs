using System.Diagnostics;
using System.Text.RegularExpressions;
using Broadcast.Middleware.Contracts;
using Broadcast.Middleware.Tests.Documentation;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Diagnostics;

/// <summary>Tests the spans of an app with one node.</summary>
public sealed partial class TracingTests : IDisposable
{
    readonly SpanRecorder _recorder = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _recorder.Dispose();

    [Fact]
    public async Task Message_ThreeRecipients_HasOneSpan()
    {
        await using (var app = await StartAsync())
        {
            await using var ann = await RawClient.OpenAsync(app, "/rooms/a");
            await using var bob = await RawClient.OpenAsync(app, "/rooms/a");
            await using var joe = await RawClient.OpenAsync(app, "/rooms/a");
            await ann.SendAsync(ClientFrame.CreateText("hello"));
            foreach (var client in new[] { ann, bob, joe }) Assert.Equal("hello", (await client.ReadFrameAsync()).Text);
            await _recorder.WaitForAsync(1, "process");
        }

        // After the app has ended, no further span can follow.
        var span = Assert.Single(_recorder.Spans);
        Assert.Equal(("process /rooms/{room}", ActivityKind.Consumer, ActivityStatusCode.Unset), (span.DisplayName, span.Kind, span.Status));
        Assert.Null(span.ParentId);
        AssertTags(
            span,
            ("messaging.system", "broadcast"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", "/rooms/a"),
            ("messaging.message.body.size", 5),
            ("http.route", "/rooms/{room}"),
            ("broadcast.name", _recorder.Name),
            ("broadcast.recipients", "group"),
            ("broadcast.outcome", "published"),
            ("broadcast.local_recipients", 3));
        Assert.NotNull(span.GetTagItem("messaging.client.id"));
    }

    [Fact]
    public async Task Message_TracedHandshake_SpanLinksToHandshake()
    {
        const string Trace = "0af7651916cd43dd8448eb211c80319c";
        await using var app = await StartAsync();
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync("/rooms/a", ("traceparent", $"00-{Trace}-b7ad6b7169203331-01"))).Status);
        await client.SendAsync(ClientFrame.CreateText("hello"));

        var span = Assert.Single(await _recorder.WaitForAsync(1, "process"));

        Assert.Equal(Trace, Assert.Single(span.Links).Context.TraceId.ToHexString());
        Assert.NotEqual(Trace, span.TraceId.ToHexString());
    }

    [Fact]
    public async Task Filter_Publishes_CreatesChildSpan()
    {
        await using var app = await StartAsync(endpoint => endpoint.Use(async (context, next) =>
        {
            await context.Broadcaster.PublishAsync(Message.FromText("copy"), Recipients.User("ann"), Token);
            await next(context);
        }));
        await SendAsync(app, "hello");

        var message = Assert.Single(await _recorder.WaitForAsync(1, "process"));
        var publish = Assert.Single(await _recorder.WaitForAsync(1, "publish"));

        Assert.Equal((message.TraceId, message.SpanId), (publish.TraceId, publish.ParentSpanId));
        Assert.Equal(("publish", ActivityKind.Producer), (publish.DisplayName, publish.Kind));
        AssertTags(publish, ("messaging.operation.type", "send"), ("broadcast.recipients", "user"), ("broadcast.local_recipients", 0), ("messaging.destination.name", null));
    }

    [Fact]
    public async Task Filter_DropsMessage_SpanHasOutcomeDropped()
    {
        await using var app = await StartAsync(static endpoint => endpoint.Use(static (_, _) => Task.CompletedTask));
        await SendAsync(app, "hello");

        AssertTags(Assert.Single(await _recorder.WaitForAsync(1, "process")), ("broadcast.outcome", "dropped"), ("broadcast.recipients", null));
    }

    [Fact]
    public async Task Filter_Throws_MarksSpanWithoutMessageText()
    {
        await using var app = await StartAsync(static endpoint => endpoint.Use(static (context, _) => throw new FormatException(context.Text)));
        await SendAsync(app, "secret");

        var span = Assert.Single(await _recorder.WaitForAsync(1, "process"));

        Assert.Equal((ActivityStatusCode.Error, null), (span.Status, span.StatusDescription));
        AssertTags(span, ("error.type", "System.FormatException"), ("broadcast.outcome", null));
        Assert.Empty(span.Events);
        Assert.DoesNotContain(span.TagObjects, static tag => tag.Value is string text && text.Contains("secret", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("known", "handled")]
    [InlineData("other", "unhandled")]
    public async Task Event_HandledOrNot_SpanNamesOutcome(string name, string outcome)
    {
        await using var app = await StartAsync(static endpoint => endpoint.Use(static (context, next) =>
            context.Event == "known" ? Task.CompletedTask : next(context)));
        await using var client = await JsonClient.OpenAsync(app, "/rooms/a");
        await JsonClient.SendTextAsync(client, $$"""{"type":"event","event":"{{name}}","ackId":1,"dataType":"text","data":"hello"}""");

        AssertTags(Assert.Single(await _recorder.WaitForAsync(1, "process")), ("broadcast.outcome", outcome));
    }

    [Fact]
    public async Task PublishSpan_CallerHasSpan_IsChildOfThatSpan()
    {
        await using var app = await StartAsync();
        using var caller = _recorder.StartCaller();
        var message = Message.FromText("hello") with { Id = "42" };
        await BroadcasterOf(app).PublishAsync(message, Recipients.Group("/rooms/a"), Token);
        await BroadcasterOf(app).PublishAsync(message, Recipients.Group("/rooms/a"), Token);

        Assert.Equal(caller, Activity.Current);
        var spans = _recorder.Spans;
        Assert.Equal(2, spans.Length);
        Assert.All(spans, span => Assert.Equal((caller.TraceId, caller.SpanId), (span.TraceId, span.ParentSpanId)));
        AssertTags(spans[0], ("broadcast.outcome", "published"), ("messaging.message.id", "42"), ("messaging.destination.name", "/rooms/a"));
        AssertTags(spans[1], ("broadcast.outcome", "duplicate"));
    }

    [Fact]
    public async Task Message_ListenerSamplesNothing_CreatesNoSpan()
    {
        using var recorder = new SpanRecorder(ActivitySamplingResult.None);
        (bool HasRun, Activity? Current) filter = default;
        await using var app = await StartAsync(
            endpoint => endpoint.Use((context, next) =>
            {
                filter = (true, Activity.Current);
                return next(context);
            }),
            recorder);
        await SendAsync(app, "hello");

        Assert.True(filter.HasRun);
        Assert.Null(filter.Current);
        Assert.Empty(recorder.Spans);
    }

    [Fact]
    public async Task Reply_OfFilter_CreatesNoFurtherSpan()
    {
        await using var app = await StartAsync(static endpoint => endpoint.Use(static async (context, _) => await context.ReplyAsync("pong")));
        await using (var client = await RawClient.OpenAsync(app, "/rooms/a"))
        {
            await client.SendAsync(ClientFrame.CreateText("ping"));
            Assert.Equal("pong", (await client.ReadFrameAsync()).Text);
        }

        AssertTags(Assert.Single(await _recorder.WaitForAsync(1, "process")), ("broadcast.outcome", "dropped"));
        Assert.Single(_recorder.Spans);
    }

    [Fact]
    public async Task TracesDoc_AllTags_AreListed()
    {
        await using var app = await StartAsync(static endpoint => endpoint.Use(static (context, next) =>
            context.Text == "fail" ? throw new FormatException() : next(context)));
        await SendAsync(app, "hello");
        await SendAsync(app, "fail");
        await BroadcasterOf(app).PublishAsync(Message.FromText("hello") with { Id = "42" }, Recipients.Everyone, Token);
        await _recorder.WaitForAsync(2, "process");

        var rows = File.ReadLines(Path.Combine(SnippetTests.Repository, "docs", "operations", "traces.md"))
            .Select(static line => TagRow().Match(line)).Where(static match => match.Success).Select(static match => match.Groups[1].Value);
        Assert.Equal(_recorder.Spans.SelectMany(static span => span.TagObjects).Select(static tag => tag.Key).Distinct().Order(), rows.Order());
    }

    static void AssertTags(Activity span, params (string Name, object? Value)[] tags)
    {
        foreach (var (name, value) in tags) Assert.Equal((name, value), (name, span.GetTagItem(name)));
    }

    /// <summary>Sends a message and waits until the server has handled it.</summary>
    static async Task SendAsync(BroadcastApp app, string text)
    {
        await using var client = await RawClient.OpenAsync(app, "/rooms/a");
        await client.SendAsync(ClientFrame.CreateText(text), ClientFrame.CreateClose(1000));
        await client.ReadEndAsync();
    }

    IBroadcaster BroadcasterOf(BroadcastApp app) => app.Services.GetRequiredKeyedService<IBroadcaster>(_recorder.Name);

    [GeneratedRegex(@"^\| `([a-z_]+\.[a-z_.]+)` \|")]
    private static partial Regex TagRow();

    Task<BroadcastApp> StartAsync(Action<BroadcastEndpointConventionBuilder>? configure = null, SpanRecorder? recorder = null)
    {
        var name = (recorder ?? _recorder).Name;
        return BroadcastApp.StartAsync(
            builder => builder.Services.AddBroadcast(name),
            app =>
            {
                var endpoint = app.MapBroadcast("/rooms/{room}", name);
                configure?.Invoke(endpoint);
            });
    }
}
