using System.Diagnostics;
using System.Net.WebSockets;
using System.Text;

namespace Broadcast.Packages.Tests;

/// <summary>A new app, on a free loopback port.</summary>
sealed class RunningApp : IAsyncDisposable
{
    const string Announcement = "Now listening on: ";

    readonly Process _process;

    RunningApp(Process process, Uri url) => (_process, Url) = (process, url);

    public Uri Url { get; }

    /// <summary>Starts the app that was built in a folder. The app has the name of the folder.</summary>
    public static async Task<RunningApp> StartAsync(CommandLine commandLine, string folder)
    {
        var program = Path.Combine(folder, "bin", "Release", "net10.0", $"{Path.GetFileName(folder)}.dll");
        var process = commandLine.StartDotnet(folder, program, "--urls", "http://127.0.0.1:0");
        var output = new StringBuilder();
        var listening = new TaskCompletionSource<Uri>(TaskCreationOptions.RunContinuationsAsynchronously);
        process.OutputDataReceived += (_, line) => OnOutput(line.Data);
        process.ErrorDataReceived += (_, line) => OnOutput(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        var ended = process.WaitForExitAsync();
        try
        {
            if (await Task.WhenAny(listening.Task, ended).WaitAsync(CommandLine.Limit, TestContext.Current.CancellationToken) == ended)
            {
                lock (output) Assert.Fail($"The app exited before it listened. Its output:\n{output}");
            }

            return new(process, await listening.Task);
        }
        catch
        {
            process.Kill(entireProcessTree: true);
            process.Dispose();
            throw;
        }

        void OnOutput(string? line)
        {
            if (line is null) return;
            lock (output) output.AppendLine(line);
            if (line.IndexOf(Announcement, StringComparison.Ordinal) is >= 0 and var index)
                listening.TrySetResult(new(line[(index + Announcement.Length)..]));
        }
    }

    /// <summary>Asserts that a message of one client reaches another client.</summary>
    public async Task AssertBroadcastsAsync()
    {
        var address = new UriBuilder(Url) { Scheme = "ws", Path = "/ws" }.Uri;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(CommandLine.Limit);
        using ClientWebSocket sender = new(), receiver = new();
        await receiver.ConnectAsync(address, limit.Token);
        // The server answers a handshake before it adds the client to the group. A client receives its own message only as
        // a member of the group.
        await SendAsync(receiver, "ready");
        Assert.Equal("ready", await ReceiveAsync(receiver));
        await sender.ConnectAsync(address, limit.Token);
        await SendAsync(sender, "hello");
        Assert.Equal("hello", await ReceiveAsync(receiver));

        ValueTask SendAsync(ClientWebSocket socket, string text) =>
            socket.SendAsync(Encoding.UTF8.GetBytes(text).AsMemory(), WebSocketMessageType.Text, endOfMessage: true, limit.Token);

        async Task<string> ReceiveAsync(ClientWebSocket socket)
        {
            var buffer = new byte[16];
            var received = await socket.ReceiveAsync(buffer.AsMemory(), limit.Token);
            return Encoding.UTF8.GetString(buffer, 0, received.Count);
        }
    }

    /// <summary>Reads the page at the root of the app.</summary>
    public async Task<string> GetPageAsync()
    {
        using var http = new HttpClient { Timeout = CommandLine.Limit };
        return await http.GetStringAsync(Url, TestContext.Current.CancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync(CancellationToken.None);
        _process.Dispose();
    }
}
