using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Broadcast.Middleware.Tests.Http;

public sealed class HandshakeTests
{
    const string Handshake = "Sec-WebSocket-Key";

    [Fact]
    public async Task Handshake_RfcExample_GetsRfcAnswer()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync();

        Assert.Equal(101, answer.Status);
        Assert.Equal("websocket", answer["Upgrade"], ignoreCase: true);
        Assert.Equal("Upgrade", answer["Connection"], ignoreCase: true);
        Assert.Equal(RawClient.Accept, answer["Sec-WebSocket-Accept"]);
        // The answer must not contain an extension or subprotocol that the client did not request (RFC 6455, section 4.1, checks 5 and 6).
        Assert.Null(answer["Sec-WebSocket-Extensions"]);
        Assert.Null(answer["Sec-WebSocket-Protocol"]);
    }

    [Theory]
    [InlineData("Connection", "keep-alive, Upgrade")]
    [InlineData("Upgrade", "WebSocket")]
    [InlineData("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")]
    [InlineData("Sec-WebSocket-Protocol", "")]
    public async Task Handshake_AllowedHeaderVariant_IsAccepted(string header, string value)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync(changes: (header, value));
        await client.SendAsync(ClientFrame.CreateText("hello"));

        Assert.Equal(101, answer.Status);
        Assert.Null(answer["Sec-WebSocket-Extensions"]);
        Assert.Equal("hello", (await client.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task Handshake_WithFramesInSamePacket_RelaysFrames()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);
        var handshake = $"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
            $"Sec-WebSocket-Version: 13\r\n{Handshake}: {RawClient.Key}\r\n\r\n";

        await client.SendAsync(Encoding.ASCII.GetBytes(handshake).Concat(ClientFrame.CreateText("early")).ToArray());

        // The answer ends with an empty line after its headers, and the frame follows.
        var answer = new StringBuilder();
        while (!answer.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal)) answer.Append((char)await client.ReadByteAsync());
        Assert.StartsWith("HTTP/1.1 101 ", answer.ToString());
        Assert.Equal("early", (await client.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task Handshake_UseWebSocketsInFront_IsAcceptedAndRelaysMessage()
    {
        await using var app = await BroadcastApp.StartAsync(map: app =>
        {
            app.UseWebSockets();
            app.MapBroadcast("/ws");
        });
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.CreateText("hello"));

        Assert.Equal("hello", (await client.ReadFrameAsync()).Text);
    }

    [Theory]
    [InlineData("GET /ws HTTP/1.1")]
    [InlineData("POST /ws HTTP/1.1")]
    [InlineData("OPTIONS /ws HTTP/1.1")]
    public async Task PlainRequest_WithoutUpgrade_IsRefusedWithStatus426(string request)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.RequestAsync(
            request,
            ("Connection", null), ("Upgrade", null), ("Sec-WebSocket-Version", null), (Handshake, null),
            ("Content-Length", request.StartsWith("POST", StringComparison.Ordinal) ? "0" : null));

        Assert.Equal(426, answer.Status);
        Assert.Equal("websocket", answer["Upgrade"]);
        Assert.Equal("Upgrade", answer["Connection"]);
        Assert.StartsWith("text/plain", answer["Content-Type"]);
        Assert.Contains("ws://", answer.Body, StringComparison.Ordinal);
        Assert.Contains("Accept: text/event-stream", answer.Body, StringComparison.Ordinal);
        Refused(app);
    }

    /// <summary>
    /// Tests HTTP/1.0 and HTTP/2. In these versions, a client cannot upgrade a request, so the server does not answer
    /// with status 426.
    /// </summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task PlainRequest_OtherHttpVersion_IsRefusedWithStatus400AndHint(bool isHttp2)
    {
        await using var app = await BroadcastApp.StartAsync(protocols: isHttp2 ? HttpProtocols.Http2 : HttpProtocols.Http1);
        string body;
        if (isHttp2)
        {
            using var http2 = new Http2Client(app);
            using var response = await http2.GetAsync();
            Assert.Equal(400, (int)response.StatusCode);
            body = await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        }
        else
        {
            await using var client = await RawClient.ConnectAsync(app);
            var answer = await client.RequestAsync(
                "GET /ws HTTP/1.0",
                ("Connection", null), ("Upgrade", null), ("Sec-WebSocket-Version", null), (Handshake, null));
            Assert.Equal(400, answer.Status);
            body = answer.Body;
        }

        Assert.Contains("ws://", body, StringComparison.Ordinal);
        Assert.Contains("Accept: text/event-stream", body, StringComparison.Ordinal);
        Refused(app);
    }

    [Theory]
    [InlineData("8")]
    [InlineData("14")]
    [InlineData("thirteen")]
    public async Task Handshake_OtherVersion_IsRefusedWithSupportedVersion(string version)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync(changes: ("Sec-WebSocket-Version", version));

        Assert.Equal(426, answer.Status);
        Assert.Equal("13", answer["Sec-WebSocket-Version"]);
        Assert.Contains("version 13", answer.Body, StringComparison.Ordinal);
        Refused(app);
    }

    [Theory]
    [InlineData("Sec-WebSocket-Version", null)]
    [InlineData(Handshake, null)]
    [InlineData(Handshake, "")]
    [InlineData(Handshake, "not base64!")]
    [InlineData(Handshake, "dG9vIHNob3J0")]
    [InlineData("Connection", null)]
    [InlineData("Connection", "keep-alive")]
    [InlineData("Upgrade", null)]
    [InlineData("Upgrade", "h2c")]
    public async Task Handshake_InvalidHeader_IsRefusedWithExplanation(string header, string? value)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync(changes: (header, value));

        Assert.Equal(400, answer.Status);
        Assert.Contains("Upgrade: websocket", answer.Body, StringComparison.Ordinal);
        Assert.Contains("Sec-WebSocket-Key", answer.Body, StringComparison.Ordinal);
        Refused(app);
    }

    [Fact]
    public async Task Handshake_WithPost_IsRefusedWithStatus400()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.RequestAsync("POST /ws HTTP/1.1", ("Content-Length", "0"));

        Assert.Equal(400, answer.Status);
        Refused(app);
    }

    [Fact]
    public async Task Handshake_WithHttp10_IsRefusedWithExplanation()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.RequestAsync("GET /ws HTTP/1.0", ("Connection", null), ("Upgrade", null));

        Assert.Equal(400, answer.Status);
        Assert.Null(answer["Upgrade"]);
        Assert.Contains("RFC 6455", answer.Body, StringComparison.Ordinal);
        Refused(app);
    }

    [Fact]
    public async Task Handshake_OtherPath_IsRefusedWithStatus404()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        Assert.Equal(404, (await client.HandshakeAsync("/elsewhere")).Status);
    }

    [Fact]
    public async Task Handshake_GroupNameTooLong_IsRefusedWithReason()
    {
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/rooms/{room}"));
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync($"/rooms/{new string('a', 300)}");

        Assert.Equal(400, answer.Status);
        Assert.Contains("255", answer.Body, StringComparison.Ordinal);
        Refused(app);
    }

    [Fact]
    public async Task Handshake_AfterRefusalOnSameTcpConnection_IsAccepted()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        Assert.Equal(400, (await client.HandshakeAsync(changes: (Handshake, null))).Status);
        Assert.Equal(101, (await client.HandshakeAsync()).Status);
    }

    static void Refused(BroadcastApp app)
    {
        Assert.Equal(0, app.Registry.Count);
        LogAssert.NoErrors(app);
    }
}
