using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>The demo as a user starts it: a process of its own, on a loopback port, from another directory than its own.</summary>
public sealed class Demo : IAsyncLifetime
{
    const string Announcement = "Now listening on: ";

    readonly ConcurrentQueue<string> _output = [];
    Process? _process;

    public HttpClient Http { get; } = new();

    public Uri Url => Http.BaseAddress!;

    public ValueTask InitializeAsync() => StartAsync();

    /// <summary>Once more if it has ended, and then on the same port.</summary>
    public async ValueTask StartAsync(params IEnumerable<string> settings)
    {
        var url = Http.BaseAddress?.GetLeftPart(UriPartial.Authority) ?? "http://127.0.0.1:0";
        var start = new ProcessStartInfo(
            Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet",
            [Path.Combine(AppContext.BaseDirectory, "WebDemo.dll"), "--urls", url, .. settings])
        {
            WorkingDirectory = Path.GetTempPath(),
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        var listening = new TaskCompletionSource<Uri>(TaskCreationOptions.RunContinuationsAsynchronously);
        _process = new Process { StartInfo = start, EnableRaisingEvents = true };
        _process.Exited += (_, _) => listening.TrySetException(new InvalidOperationException($"The demo ended:\n{string.Join('\n', _output)}"));
        _process.OutputDataReceived += (_, line) => Read(line.Data);
        _process.ErrorDataReceived += (_, line) => Read(line.Data);
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        var listensOn = await listening.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Http.BaseAddress ??= listensOn;

        void Read(string? line)
        {
            if (line is null) return;
            _output.Enqueue(line);
            if (line.IndexOf(Announcement, StringComparison.Ordinal) is >= 0 and var at) listening.TrySetResult(new(line[(at + Announcement.Length)..]));
        }
    }

    /// <summary>As a power cut would.</summary>
    public async Task KillAsync()
    {
        _process!.Kill();
        await _process.WaitForExitAsync();
    }

    /// <summary>As Ctrl+C or a service manager would. Returns its exit code.</summary>
    public async Task<int> StopAsync()
    {
        using var kill = Process.Start("kill", ["-TERM", _process!.Id.ToString(CultureInfo.InvariantCulture)]);
        await _process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return _process.ExitCode;
    }

    public async Task<ClientWebSocket> ConnectAsync(string path, string? subprotocol = null)
    {
        var socket = new ClientWebSocket();
        if (subprotocol is not null) socket.Options.AddSubProtocol(subprotocol);
        await socket.ConnectAsync(new UriBuilder(Url) { Scheme = "ws", Path = path }.Uri, TestContext.Current.CancellationToken);
        return socket;
    }

    /// <summary>A handshake is answered before its connection is in the group: only the count says that it is.</summary>
    public async Task WaitForCountAsync(string group, int count)
    {
        var limit = Stopwatch.StartNew();
        while (await CountAsync(group) != count)
        {
            Assert.True(limit.Elapsed < TimeSpan.FromSeconds(10), $"{group} does not come to have {count} connections.");
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    public async Task<int> CountAsync(string? group = null)
    {
        var query = group is null ? "/count" : $"/count?group={Uri.EscapeDataString(group)}";
        var answer = await Http.GetFromJsonAsync<JsonElement>(query, TestContext.Current.CancellationToken);
        return answer.GetProperty("connections").GetInt32();
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        if (_process is null) return;
        if (!_process.HasExited) await KillAsync();
        _process.Dispose();
    }
}
