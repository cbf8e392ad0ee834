using System.ComponentModel;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace WebDemo.Tests;

/// <summary>An nginx process on a free loopback port. The process passes all requests to a server.</summary>
sealed class NginxProxy : IAsyncDisposable
{
    readonly Process _process;
    readonly DirectoryInfo _directory;

    readonly ReservedPort _port;

    NginxProxy(Process process, DirectoryInfo directory, ReservedPort port) =>
        (_process, _directory, _port, Url) = (process, directory, port, new($"http://127.0.0.1:{port.Number}"));

    public Uri Url { get; }

    /// <summary>Starts nginx, and waits until it listens. Skips the test if nginx is not installed.</summary>
    /// <param name="server">The URL of the server.</param>
    /// <param name="settings">The settings of the location /, such as <c>proxy_set_header Host $http_host;</c>.</param>
    /// <param name="location">Another location.</param>
    public static async Task<NginxProxy> StartAsync(Uri server, string settings, string location = "")
    {
        var port = new ReservedPort();
        var directory = Directory.CreateTempSubdirectory("broadcast-nginx-");
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
                    listen 127.0.0.1:{{port.Number}};
                    {{location}}
                    location / {
                        proxy_pass {{server.GetLeftPart(UriPartial.Authority)}};
                        {{settings}}
                    }
                }
            }
            """, TestContext.Current.CancellationToken);
        var proxy = new NginxProxy(StartProcess(directory), directory, port);
        await proxy.WaitUntilListeningAsync();
        return proxy;
    }

    public async ValueTask DisposeAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _port.Dispose();
        _directory.Delete(recursive: true);
    }

    static Process StartProcess(DirectoryInfo directory)
    {
        try
        {
            var program = File.Exists("/usr/sbin/nginx") ? "/usr/sbin/nginx" : "nginx";
            return Process.Start(program, ["-c", $"{directory}/nginx.conf", "-e", $"{directory}/error.log"]);
        }
        catch (Win32Exception exception)
        {
            Assert.Skip($"nginx does not start: {exception.Message}. On Debian, run apt install nginx-light.");
            throw;
        }
    }

    async Task WaitUntilListeningAsync()
    {
        var watch = Stopwatch.StartNew();
        while (true)
        {
            Assert.False(_process.HasExited, "nginx does not start.");
            try
            {
                using var client = new TcpClient();
                await client.ConnectAsync(IPAddress.Loopback, Url.Port, TestContext.Current.CancellationToken);
                return;
            }
            catch (SocketException) when (watch.Elapsed < TestLimits.Wait)
            {
                await Task.Delay(10, TestContext.Current.CancellationToken);
            }
        }
    }
}
