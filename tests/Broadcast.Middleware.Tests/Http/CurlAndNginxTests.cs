using System.ComponentModel;
using System.Diagnostics;
using System.Net.Sockets;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests event streams with curl as a client, and with nginx as a proxy.</summary>
public sealed class CurlAndNginxTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("--http1.1")]
    [InlineData("--http1.0")]
    [InlineData("--http2-prior-knowledge")]
    public async Task Curl_AnyHttpVersion_ReceivesEachEventAcrossReconnects(string version)
    {
        await using var app = await BroadcastApp.StartAsync(
            options: options => options.Groups["/ws"] = new() { HistoryMessages = 100 },
            protocols: version.StartsWith("--http2", StringComparison.Ordinal) ? HttpProtocols.Http2 : HttpProtocols.Http1);
        var id = "";
        var number = 0;
        for (var round = 0; round < 3; round++)
        {
            string[] after = id.Length == 0 ? [] : ["-H", $"Last-Event-ID: {id}"];
            using var curl = Start("curl", ["-sN", version, "-H", "Accept: text/event-stream", .. after, $"http://127.0.0.1:{app.Port}/ws"]);
            await using var events = new EventClient(curl.StandardOutput.BaseStream);
            await EventStreamTests.Attached(app, 1);
            for (var i = 0; i < (round == 0 ? 0 : 5); i++) Assert.Equal([$"{number - 5 + i}"], await events.ReceiveTextAsync(1));
            for (var i = 0; i < 5; i++)
            {
                await PublishAsync();
                Assert.Equal([$"{number - 1}"], await events.ReceiveTextAsync(1));
            }

            id = events.LastEventId;
            curl.Kill();
            await curl.WaitForExitAsync(Token);
            await Eventually.True(() => app.Registry.Count == 0);
            for (var i = 0; i < 5; i++) await PublishAsync();
        }

        async Task PublishAsync() => await app.Broadcaster.PublishAsync($"{number++}", Recipients.Group("/ws"), cancellationToken: Token);
    }

    [Fact]
    public async Task Nginx_BufferingAndGzipEnabled_DelaysNoEvent()
    {
        await using var app = await BroadcastApp.StartAsync();
        var directory = Directory.CreateTempSubdirectory("broadcast-nginx-");
        var socket = Path.Combine(directory.FullName, "socket");
        await File.WriteAllTextAsync(Path.Combine(directory.FullName, "nginx.conf"), $$"""
            daemon off;
            master_process off;
            pid {{directory}}/pid;
            error_log {{directory}}/error.log;
            events { }
            http {
                access_log off;
                client_body_temp_path {{directory}}/client_body;
                proxy_temp_path {{directory}}/proxy;
                fastcgi_temp_path {{directory}}/fastcgi;
                uwsgi_temp_path {{directory}}/uwsgi;
                scgi_temp_path {{directory}}/scgi;
                server {
                    listen unix:{{socket}};
                    location / {
                        proxy_pass http://127.0.0.1:{{app.Port}};
                        proxy_http_version 1.1;
                        proxy_set_header Connection "";
                        proxy_buffering on;
                        gzip on;
                        gzip_types text/event-stream;
                    }
                }
            }
            """, Token);
        using var nginx = Start(File.Exists("/usr/sbin/nginx") ? "/usr/sbin/nginx" : "nginx", ["-c", $"{directory}/nginx.conf", "-e", $"{directory}/error.log"]);
        try
        {
            // The socket file exists before nginx accepts connections.
            await Eventually.True(() => CanConnect() || nginx.HasExited);
            Assert.False(nginx.HasExited, "nginx does not start.");
            using var http = new HttpClient(new SocketsHttpHandler
            {
                ConnectCallback = async (_, token) =>
                {
                    var line = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                    await line.ConnectAsync(new UnixDomainSocketEndPoint(socket), token);
                    return new NetworkStream(line, ownsSocket: true);
                },
            });
            using var request = new HttpRequestMessage(HttpMethod.Get, "http://localhost/ws");
            request.Headers.Accept.ParseAdd("text/event-stream");
            using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Token);
            Assert.Equal("nginx", response.Headers.Server.First().Product!.Name);
            await using var client = new EventClient(await response.Content.ReadAsStreamAsync(Token));
            await EventStreamTests.Attached(app, 1);
            await client.ReadIdAsync();
            for (var i = 0; i < 20; i++)
            {
                await app.Broadcaster.PublishAsync($"{i}", Recipients.Group("/ws"), cancellationToken: Token);
                Assert.Equal([$"{i}"], await client.ReceiveTextAsync(1));
            }

            await app.Broadcaster.CloseAsync(Assert.Single(app.Registry.Connections).Id, cancellationToken: Token);
            Assert.Equal("1000 ", await client.ReadCloseAsync());
        }
        finally
        {
            nginx.Kill();
            await nginx.WaitForExitAsync(Token);
            directory.Delete(recursive: true);
        }

        bool CanConnect()
        {
            using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                probe.Connect(new UnixDomainSocketEndPoint(socket));
                return true;
            }
            catch (SocketException)
            {
                return false;
            }
        }
    }

    static Process Start(string program, IEnumerable<string> arguments)
    {
        try
        {
            return Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        }
        catch (Win32Exception exception)
        {
            throw new InvalidOperationException($"{program} does not start: install it (on Debian: apt install curl nginx-light). {exception.Message}");
        }
    }
}
