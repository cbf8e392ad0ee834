using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.HttpOverrides;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Yarp.ReverseProxy.Configuration;
using Yarp.ReverseProxy.Transforms;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests clients behind the proxy YARP, which replaces the header Host by default.</summary>
public sealed class YarpTests
{
    const string Host = "shop.example", Origin = "http://shop.example";

    [Fact]
    public async Task WebSocket_DefaultYarp_IsRefusedWithWarning()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var proxy = await StartProxyAsync(app);
        Assert.Equal(403, await ConnectAsync(proxy));
        var warning = Assert.Single(app.Logs.GetSnapshot(), static record => record is { Level: LogLevel.Warning, Category: "Broadcast" });
        Assert.Contains($"{Origin}, because the app received the request at http://127.0.0.1:{app.Port}.", warning.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WebSocket_YarpKeepsHost_Opens()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var proxy = await StartProxyAsync(app, static yarp => yarp.AddTransforms(static context => context.AddOriginalHost()));
        Assert.Equal(101, await ConnectAsync(proxy));
    }

    [Fact]
    public async Task WebSocket_ForwardedHeadersInApp_Opens()
    {
        await using var app = await BroadcastApp.StartAsync(map: map =>
        {
            map.UseForwardedHeaders(new() { ForwardedHeaders = ForwardedHeaders.XForwardedHost });
            map.MapBroadcast("/ws");
        });
        await using var proxy = await StartProxyAsync(app);
        Assert.Equal(101, await ConnectAsync(proxy));
    }

    [Fact]
    public async Task EventStream_ThroughYarp_DelaysNoEvent()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var proxy = await StartProxyAsync(app);
        using var http = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(Url(proxy), "/ws"));
        request.Headers.Accept.ParseAdd("text/event-stream");
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, TestContext.Current.CancellationToken);
        await using var client = new EventClient(await response.Content.ReadAsStreamAsync(TestContext.Current.CancellationToken));
        await EventStreamTests.Attached(app, 1);
        for (var i = 0; i < 20; i++)
        {
            await app.PublishAsync($"{i}");
            Assert.Equal([$"{i}"], await client.ReceiveTextAsync(1));
        }
    }

    static async Task<WebApplication> StartProxyAsync(BroadcastApp app, Action<IReverseProxyBuilder>? configure = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var yarp = builder.Services.AddReverseProxy().LoadFromMemory(
            [new RouteConfig { RouteId = "all", ClusterId = "app", Match = new() { Path = "{**path}" } }],
            [
                new ClusterConfig
                {
                    ClusterId = "app",
                    Destinations = new Dictionary<string, DestinationConfig> { ["app"] = new() { Address = $"http://127.0.0.1:{app.Port}" } },
                },
            ]);
        configure?.Invoke(yarp);
        var proxy = builder.Build();
        proxy.MapReverseProxy();
        await proxy.StartAsync(TestContext.Current.CancellationToken);
        return proxy;
    }

    static Uri Url(WebApplication proxy) => new(proxy.Urls.Single());

    /// <summary>Sends the same handshake as a browser, and returns the status.</summary>
    static async Task<int> ConnectAsync(WebApplication proxy)
    {
        using var socket = new System.Net.Sockets.Socket(System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Tcp);
        await socket.ConnectAsync(IPAddress.Loopback, Url(proxy).Port, TestContext.Current.CancellationToken);
        await using var client = new RawClient(new System.Net.Sockets.NetworkStream(socket), socket);
        var answer = await client.HandshakeAsync("/ws", ("Host", Host), ("Origin", Origin));
        if (answer.Status == 101) await client.JoinedAsync();
        return answer.Status;
    }
}
