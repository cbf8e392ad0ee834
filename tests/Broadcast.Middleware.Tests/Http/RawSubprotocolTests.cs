using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests requested subprotocols. A browser closes the connection if the answer contains none of the requested
/// subprotocols. So the server either accepts one subprotocol or refuses the handshake.
/// </summary>
public sealed class RawSubprotocolTests
{
    const string Header = "Sec-WebSocket-Protocol";

    [Theory]
    [InlineData("chat", "chat")]
    [InlineData("other, chat", "chat")]
    [InlineData("bearer, eyJhbGciOi.J9.abc", "bearer")]
    [InlineData("bearer, chat", "bearer")]
    [InlineData("chat, bearer", "chat")]
    [InlineData("chat, json.webpubsub.azure.v1", "chat")]
    [InlineData("other\r\nSec-WebSocket-Protocol: chat", "chat")]
    public async Task Handshake_ListedSubprotocol_IsAcceptedAndRelaysRawMessages(string requested, string accepted)
    {
        await using var app = await StartAsync();
        await using var other = await RawClient.OpenAsync(app);
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync("/ws", (Header, requested));
        Assert.Equal((101, accepted), (answer.Status, answer[Header]));
        await client.JoinedAsync();

        await client.SendAsync(ClientFrame.CreateText("text"));
        Assert.Equal("text", (await other.ReadFrameAsync()).Text);
        Assert.Equal("text", (await client.ReadFrameAsync()).Text);
        await other.SendAsync(ClientFrame.Make(ClientFrame.Binary, [0, 255, 7]));
        var binary = await client.ReadFrameAsync();
        Assert.Equal(ClientFrame.Binary, binary.Opcode);
        BytesAssert.Equal(new byte[] { 0, 255, 7 }, binary.Payload);
    }

    [Theory]
    [InlineData("json.webpubsub.azure.v1, chat", JsonClient.Subprotocol)]
    [InlineData("json.webpubsub.azure.v1", JsonClient.Subprotocol)]
    public async Task Handshake_KnownProtocolFirst_IsChosen(string requested, string accepted)
    {
        await using var app = await StartAsync();
        Assert.Equal(accepted, (await RawClient.TryAsync(app, (Header, requested)))[Header]);
    }

    [Fact]
    public async Task Handshake_KnownProtocolInRawSubprotocols_RelaysRawMessages()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.RawSubprotocols.Add(JsonClient.Subprotocol));
        await using var client = await RawClient.OpenAsync(app, (Header, JsonClient.Subprotocol));
        await client.SendAsync(ClientFrame.CreateText("text"));
        Assert.Equal("text", (await client.ReadFrameAsync()).Text);
    }

    [Theory]
    [InlineData("unknown")]
    [InlineData("CHAT")]
    [InlineData("JSON.webpubsub.azure.v1")]
    [InlineData("unknown, secret-token")]
    public async Task Handshake_OnlyUnknownSubprotocols_IsRefusedBeforeFilters(string requested)
    {
        var connects = 0;
        await using var app = await BroadcastApp.StartAsync(
            map: map => map.MapBroadcast("/ws").UseConnect((context, next) =>
            {
                Interlocked.Increment(ref connects);
                return next(context);
            }),
            options: options => options.RawSubprotocols.Add("chat"));

        for (var i = 0; i < 2; i++)
        {
            var answer = await RawClient.TryAsync(app, (Header, requested));
            Assert.Equal(400, answer.Status);
            Assert.Contains("RawSubprotocols", answer.Body, StringComparison.Ordinal);
        }

        Assert.Equal(0, connects);
        Assert.Equal(0, app.Registry.Count);
        // A subprotocol can be a secret token, so the log must not contain the requested subprotocols.
        Assert.DoesNotContain(app.Logs.GetSnapshot(), record => record.Message.Contains("secret-token", StringComparison.Ordinal));
        Assert.Single(app.Logs.GetSnapshot(), record => record.Level == LogLevel.Warning && record.Message.Contains("RawSubprotocols", StringComparison.Ordinal));
    }

    [Fact]
    public async Task RawSubprotocols_OfOneEndpoint_AffectOnlyThisEndpoint()
    {
        await using var app = await BroadcastApp.StartAsync(map: map =>
        {
            map.MapBroadcast("/own", options => options.RawSubprotocols.Add("chat"));
            map.MapBroadcast("/ws");
        });
        await using var own = await RawClient.ConnectAsync(app);
        Assert.Equal("chat", (await own.HandshakeAsync("/own", (Header, "chat")))[Header]);
        Assert.Equal(400, (await RawClient.TryAsync(app, (Header, "chat"))).Status);
    }

    [Fact]
    public async Task Handshake_ListedSubprotocolOverHttp2_IsAccepted()
    {
        await using var app = await BroadcastApp.StartAsync(
            options: options => options.RawSubprotocols.Add("chat"), protocols: HttpProtocols.Http2);
        using var http2 = new Http2Client(app);
        await using var client = await http2.HandshakeAsync("/ws", "chat");
        await client.JoinedAsync();
        await client.SendAsync(ClientFrame.CreateText("text"));
        Assert.Equal("text", (await client.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task RawSubprotocols_InvalidEntries_FailAtStart()
    {
        var exception = await Assert.ThrowsAsync<OptionsValidationException>(() => BroadcastApp.StartAsync(options: options =>
        {
            options.RawSubprotocols.Add("");
            options.RawSubprotocols.Add("a,b");
            options.RawSubprotocols.Add("a b");
            options.RawSubprotocols.Add("v1.chat+json");
        }));
        Assert.Equal(3, exception.Failures.Count());
        Assert.Contains(
            "RawSubprotocols contains 'a,b', which is not a subprotocol. Use letters, digits and !#$%&'*+-.^_`|~ only.",
            exception.Message, StringComparison.Ordinal);
    }

    static Task<BroadcastApp> StartAsync() => BroadcastApp.StartAsync(options: options =>
    {
        options.RawSubprotocols.Add("chat");
        options.RawSubprotocols.Add("bearer");
    });
}
