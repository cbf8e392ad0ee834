using System.IO.Compression;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.ResponseCompression;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests which requests become event streams, which requests the server refuses, and which middleware may run in front
/// of the endpoint.
/// </summary>
public sealed class EventStreamRequestTests
{
    const string Events = "text/event-stream";

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("text/event-stream")]
    [InlineData("TEXT/Event-Stream")]
    [InlineData("text/event-stream;q=0.001")]
    [InlineData("text/event-stream; charset=utf-8")]
    [InlineData("text/html, text/event-stream;q=0.5, */*;q=0.1")]
    [InlineData("text/event-stream, ;;;, /")]
    public async Task Request_AcceptsEventStream_GetsEventStream(string accept)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await EventClient.OpenAsync(app, headers: ("Accept", accept));
        await app.Broadcaster.PublishAsync("hello", Recipients.Group("/ws"), cancellationToken: Token);
        Assert.Equal(["hello"], await client.ReceiveTextAsync(1));
    }

    [Theory]
    [InlineData("GET", null, 426)]
    [InlineData("GET", "", 426)]
    [InlineData("GET", "*/*", 426)]
    [InlineData("GET", "text/*", 426)]
    [InlineData("GET", "text/html", 426)]
    [InlineData("GET", "text/event-stream;q=0", 426)]
    [InlineData("GET", "text/event-stream;q=0.000", 426)]
    [InlineData("GET", "text/event-streams", 426)]
    [InlineData("GET", "text/event-stream/", 426)]
    [InlineData("GET", ";;;,,,text;q=/", 426)]
    [InlineData("POST", Events, 426)]
    [InlineData("HEAD", Events, 426)]
    [InlineData("PUT", Events, 426)]
    public async Task Request_OtherAcceptOrMethod_IsRefusedWithStatus426(string method, string? accept, int status)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await EventClient.AskAsync(app, method: method, headers: [("Accept", accept), ("Content-Length", method == "PUT" ? "0" : null)]);
        Assert.Equal(status, client.Status);
        Assert.Equal("websocket", client.Headers["Upgrade"]);
        Assert.Equal(0, app.Registry.Count);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Request_UpgradeAndAcceptsEventStream_GetsWebSocket()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync(changes: [("Accept", Events), ("Last-Event-ID", "x")])).Status);
        await client.SendAsync(ClientFrame.CreateText("hello"));
        Assert.Equal("hello", (await client.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task Request_OtherUpgradeAndAcceptsEventStream_GetsEventStream()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await EventClient.OpenAsync(app, headers: [("Connection", "Upgrade"), ("Upgrade", "h2c")]);
        await app.Broadcaster.PublishAsync("hello", Recipients.Group("/ws"), cancellationToken: Token);
        Assert.Equal(["hello"], await client.ReceiveTextAsync(1));
        client.Reset();
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task EventStream_Http10_IsNotChunkedAndEndsWithTcpConnection()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await EventClient.AskAsync(app, version: "HTTP/1.0", headers: ("Accept", Events));
        Assert.Equal(200, client.Status);
        Assert.DoesNotContain("Transfer-Encoding", client.Headers.Keys);
        await EventStreamTests.Attached(app, 1);
        await app.Broadcaster.PublishAsync("hello", Recipients.Group("/ws"), cancellationToken: Token);
        Assert.Equal(["hello"], await client.ReceiveTextAsync(1));
        await app.Broadcaster.CloseAsync(Assert.Single(app.Registry.Connections).Id, cancellationToken: Token);
        Assert.Equal("1000 ", await client.ReadCloseAsync());
    }

    [Fact]
    public async Task EventStream_Tls_DeliversMessagesOverHttp1AndHttp2()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var certificate = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256)
            .CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        await using var app = await BroadcastApp.StartAsync(listen: endpoint => endpoint.UseHttps(certificate), protocols: HttpProtocols.Http1AndHttp2);
        using var handler = new SocketsHttpHandler { SslOptions = { RemoteCertificateValidationCallback = (_, presented, _, _) => presented?.GetCertHashString() == certificate.GetCertHashString() } };
        using var http = new HttpMessageInvoker(handler);
        foreach (var version in new[] { new Version(1, 1), new Version(2, 0) })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, $"https://localhost:{app.Port}/ws") { Version = version, VersionPolicy = HttpVersionPolicy.RequestVersionExact };
            request.Headers.Accept.ParseAdd(Events);
            using var response = await http.SendAsync(request, Token);
            Assert.Equal((version, 200), (response.Version, (int)response.StatusCode));
            await using var client = new EventClient(await response.Content.ReadAsStreamAsync(Token));
            await EventStreamTests.Attached(app, 1);
            await app.Broadcaster.PublishAsync("secret", Recipients.Group("/ws"), cancellationToken: Token);
            Assert.Equal(["secret"], await client.ReceiveTextAsync(1));
            await app.Broadcaster.CloseAsync(Assert.Single(app.Registry.Connections).Id, cancellationToken: Token);
            Assert.Equal("1000 ", await client.ReadCloseAsync());
            await Eventually.True(() => app.Registry.Count == 0);
        }

        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task EventStream_ResponseCompression_DelaysNoEvent(bool compressesEvents)
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddResponseCompression(options =>
            {
                if (compressesEvents) options.MimeTypes = [.. ResponseCompressionDefaults.MimeTypes, Events];
            }),
            map => ((WebApplication)map.UseResponseCompression()).MapBroadcast("/ws"));
        using var http = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{app.Port}/ws");
        request.Headers.Accept.ParseAdd(Events);
        request.Headers.AcceptEncoding.ParseAdd("gzip");
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Token);
        Assert.Equal(compressesEvents ? ["gzip"] : [], response.Content.Headers.ContentEncoding);
        var body = await response.Content.ReadAsStreamAsync(Token);
        await using var client = new EventClient(compressesEvents ? new GZipStream(body, CompressionMode.Decompress) : body);
        await EventStreamTests.Attached(app, 1);
        for (var i = 0; i < 100; i++)
        {
            await app.Broadcaster.PublishAsync($"{i}", Recipients.Group("/ws"), cancellationToken: Token);
            Assert.Equal([$"{i}"], await client.ReceiveTextAsync(1));
        }

        await app.Broadcaster.CloseAsync(Assert.Single(app.Registry.Connections).Id, cancellationToken: Token);
        Assert.Equal("1000 ", await client.ReadCloseAsync());
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task EventStream_TestServer_DeliversMessagesOfWebSocketClients()
    {
        await using var app = await InMemoryApp.StartAsync();
        using var device = await app.ConnectAsync();
        using var http = app.Server.CreateClient();
        for (var round = 0; round < 2; round++)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/ws");
            request.Headers.Accept.ParseAdd(Events);
            using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Token);
            Assert.Equal(Events, response.Content.Headers.ContentType!.ToString());
            await using var client = new EventClient(await response.Content.ReadAsStreamAsync(Token));
            Connection? connection = null;
            await Eventually.True(() => (connection = app.Registry.Connections.Cast<Connection>().FirstOrDefault(other => other.Id != device.Id)) is { WasOpened: true });
            await device.SendAsync("hello");
            Assert.Equal(["hello"], await client.ReceiveTextAsync(1));
            Assert.Equal("hello", await device.ReceiveTextAsync());
            if (round == 0)
            {
                await app.Broadcaster.CloseAsync(connection!.Id, cancellationToken: Token);
                Assert.Equal("1000 ", await client.ReadCloseAsync());
            }
            else
            {
                response.Dispose();
            }

            await Eventually.True(() => app.Registry.Count == 1);
        }

        Assert.Empty(app.Errors);
    }

    [Fact]
    public async Task EventStream_InvalidGroupNameInUrl_IsRefusedWithStatus400()
    {
        await using var app = await BroadcastApp.StartAsync(map: map => map.MapBroadcast("/rooms/{room}"));
        await using var client = await EventClient.OpenAsync(app, "/rooms/blue");
        Assert.Equal(1, app.Registry.CountGroupMembers("/rooms/blue"));
        await using var refused = await EventClient.AskAsync(app, "/rooms/a%00b", headers: ("Accept", Events));
        Assert.Equal(400, refused.Status);
        await using var other = await EventClient.AskAsync(app, $"/rooms/{new string('x', 300)}", headers: ("Accept", Events));
        Assert.Equal(400, other.Status);
        Assert.Equal(1, app.Registry.Count);
    }

    [Theory]
    [InlineData("http://evil.example", null, 403)]
    [InlineData("null", null, 403)]
    [InlineData("http://localhost", null, 200)]
    [InlineData(null, null, 200)]
    [InlineData("http://good.example", "http://good.example", 200)]
    public async Task EventStream_Origin_IsCheckedAgainstHostAndAllowedOrigins(string? origin, string? allowed, int status)
    {
        await using var app = await BroadcastApp.StartAsync(options: options =>
        {
            if (allowed is not null) options.AllowedOrigins.Add(allowed);
        });
        await using var client = await EventClient.AskAsync(app, headers: [("Accept", Events), ("Origin", origin)]);
        Assert.Equal(status, client.Status);
        if (status != 200) Assert.Contains("AllowedOrigins", await client.ReadTextAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ConnectionLimits_EventStreamsAndWebSockets_AreCountedTogether()
    {
        await using var app = await BroadcastApp.StartAsync(
            TestUsers.Add,
            options: options => (options.MaxConnections, options.MaxConnectionsPerUser, options.MaxConnectionsPerAddress) = (4, 2, 3));
        for (var round = 0; round < 5; round++)
        {
            await using var socket = await RawClient.OpenAsync(app, TestUsers.As("ann"));
            await using var events = await EventClient.OpenAsync(app, headers: TestUsers.As("ann"));
            await ExpectAsync(429, "MaxConnectionsPerUser", TestUsers.As("ann"));
            Assert.Equal(429, (await RawClient.TryAsync(app, TestUsers.As("ann"))).Status);
            await using var third = await EventClient.OpenAsync(app, headers: TestUsers.As("bob"));
            await ExpectAsync(429, "MaxConnectionsPerAddress", TestUsers.As("cy"));
            if (round % 2 == 0) events.Reset();
            else await app.Broadcaster.CloseAsync(app.Registry.GetUserConnections("ann").Cast<Connection>().Single(connection => connection.Format is EventStreamFormat).Id, cancellationToken: Token);
            await Eventually.True(() => app.Registry.Count == 2);
            await using var again = await EventClient.OpenAsync(app, headers: TestUsers.As("ann"));
            foreach (var client in new[] { again, third }) client.Reset();
            socket.Reset();
            await Eventually.True(() => app.Registry.Count == 0);
        }

        LogAssert.NoErrors(app);

        async Task ExpectAsync(int status, string option, params (string, string?)[] headers)
        {
            await using var refused = await EventClient.AskAsync(app, headers: [("Accept", Events), .. headers]);
            Assert.Equal(status, refused.Status);
            Assert.NotEmpty(refused.Headers["Retry-After"]);
            Assert.Contains(option, await refused.ReadTextAsync(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task MaxConnections_Reached_AnswersEventStreamWithCloseEvent()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxConnections = 1);
        using var meters = new Meters(app);
        await using var client = await EventClient.OpenAsync(app);

        await IsAskedToReconnectAsync(app, "1013 The server has its maximum number of connections");

        Assert.Equal(503, (await RawClient.TryAsync(app)).Status);
        Assert.Equal(1, app.Registry.Count);
        Assert.Equal(2, meters.ByReason(Meters.Refused)["max_connections"]);
    }

    [Fact]
    public async Task Cluster_Unreachable_AnswersEventStreamWithCloseEvent()
    {
        var backplane = new FaultyBackplane(new InMemoryCluster().CreateNode()) { IsReachable = false };
        await using var app = await BroadcastApp.StartAsync(builder => builder.Services.AddBroadcast().AddBackplane(_ => backplane));

        await IsAskedToReconnectAsync(app, "1013 The server cannot reach its cluster.");

        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task App_ShuttingDown_AnswersEventStreamWithCloseEvent()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.EventStreamRetryDelay = TimeSpan.FromSeconds(9));
        // The TCP connection is open before the shutdown, so the server still reads a request from it.
        await using var late = await EventClient.AskAsync(app, "/other");
        Assert.Equal(404, late.Status);
        app.StopApplication();
        await late.RequestAsync("/ws", "GET", "HTTP/1.1", ("Accept", Events));

        Assert.Equal(200, late.Status);
        var body = await late.ReadTextAsync();
        Assert.Equal("retry: 9000\n\nevent: close\ndata: 1013 The server is shutting down. Try again.\n\n", body);
    }

    /// <summary>
    /// Asserts that the answer to a refused request is a complete event stream that asks the browser to reconnect. A
    /// browser does not reconnect after an HTTP error.
    /// </summary>
    static async Task IsAskedToReconnectAsync(BroadcastApp app, string data)
    {
        await using var refused = await EventClient.AskAsync(app, headers: [("Accept", Events), ("Last-Event-ID", "00c0ffee00c0ffee-3")]);
        Assert.Equal(200, refused.Status);
        Assert.Equal("text/event-stream", refused.Headers["Content-Type"]);
        var body = await refused.ReadTextAsync();
        Assert.StartsWith($"retry: 5000\n\nevent: close\ndata: {data}", body, StringComparison.Ordinal);
        Assert.EndsWith("\n\n", body, StringComparison.Ordinal);
        // The answer contains no event ID, so the browser keeps its last event ID.
        Assert.DoesNotContain("id:", body, StringComparison.Ordinal);
    }

    [Fact]
    public async Task EventStream_EndpointAuthorization_RefusesOtherUsersAndClosesAtExpiration()
    {
        var time = new FakeTimeProvider();
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddAuthorization();
                builder.Services.AddSingleton<TimeProvider>(time);
            },
            map => map.MapBroadcast("/ws").RequireAuthorization(policy => policy.RequireAssertion(context => !context.User.HasClaim(claim => claim.Value == "eve")).RequireAuthenticatedUser()));
        await using (var anonymous = await EventClient.AskAsync(app, headers: ("Accept", Events))) Assert.Equal(401, anonymous.Status);
        await using (var eve = await EventClient.AskAsync(app, headers: [("Accept", Events), TestUsers.As("eve")])) Assert.Equal(403, eve.Status);
        await using var ann = await EventClient.OpenAsync(app, headers: [TestUsers.As("ann"), TestUsers.Until(time.GetUtcNow().AddMinutes(1))]);
        await using var bob = await EventClient.OpenAsync(app, headers: TestUsers.As("bob"));
        Assert.Single(app.Registry.GetUserConnections("ann"));

        time.Advance(TimeSpan.FromSeconds(50));
        await app.Broadcaster.PublishAsync("still here", Recipients.User("ann"), cancellationToken: Token);
        Assert.Equal(["still here"], await ann.ReceiveTextAsync(1));
        time.Advance(TimeSpan.FromSeconds(15));

        Assert.StartsWith("1008 The authentication has expired", await ann.ReadCloseAsync(), StringComparison.Ordinal);
        await Eventually.True(() => app.Registry.Count == 1);
        await app.Broadcaster.PublishAsync("still here", Recipients.Everyone, cancellationToken: Token);
        Assert.Equal(["still here"], await bob.ReceiveTextAsync(1));
        LogAssert.NoErrors(app);
    }
}
