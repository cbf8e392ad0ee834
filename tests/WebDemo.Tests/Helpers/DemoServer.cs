using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>
/// The demo in its own process, on a free loopback port. The working directory of the process differs from its program
/// directory.
/// </summary>
/// <remarks>
/// The environment variable BROADCAST_TEST_NATIVE_DEMO is the path of a demo that was compiled with native AOT. Without this
/// variable, the runtime of .NET runs WebDemo.dll.
/// </remarks>
public sealed class DemoServer : IAsyncLifetime
{
    const string Announcement = "Now listening on: ";

    /// <summary>The path of the native demo, or null.</summary>
    public static readonly string? NativeProgram =
        Environment.GetEnvironmentVariable("BROADCAST_TEST_NATIVE_DEMO") is { Length: > 0 } path ? Path.GetFullPath(path) : null;

    readonly ReservedPort _port = new();
    readonly ConcurrentQueue<string> _output = [];
    Process? _process;

    public HttpClient Http { get; } = new();

    public Uri Url => Http.BaseAddress!;

    public bool IsRunning => _process is { HasExited: false };

    public ValueTask InitializeAsync() => StartAsync();

    /// <summary>Creates and starts a server. Each setting is a command-line argument.</summary>
    public static async Task<DemoServer> CreateAsync(params IEnumerable<string> settings)
    {
        var server = new DemoServer();
        await server.StartAsync(settings);
        return server;
    }

    /// <summary>Starts the process. A restart uses the port of the first start.</summary>
    public async ValueTask StartAsync(params IEnumerable<string> settings)
    {
        var url = $"http://127.0.0.1:{_port.Number}";
        string[] program = NativeProgram is null ? [Path.Combine(AppContext.BaseDirectory, "WebDemo.dll")] : [];
        var start = new ProcessStartInfo(
            NativeProgram ?? Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet",
            [.. program, "--urls", url, .. settings])
        {
            WorkingDirectory = Path.GetTempPath(),
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            // The tests start many servers for a short time. These settings save a third of the CPU time of a start.
            // The value 64 is hexadecimal.
            Environment = { ["DOTNET_gcServer"] = "0", ["DOTNET_TC_CallCountingDelayMs"] = "64" },
        };
        var listening = new TaskCompletionSource<Uri>(TaskCreationOptions.RunContinuationsAsynchronously);
        _process = new Process { StartInfo = start, EnableRaisingEvents = true };
        _process.Exited += (_, _) =>
            listening.TrySetException(new InvalidOperationException($"The demo exited before it listened. Its output:\n{string.Join('\n', _output)}"));
        _process.OutputDataReceived += (_, line) => OnOutput(line.Data);
        _process.ErrorDataReceived += (_, line) => OnOutput(line.Data);
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        var actualUrl = await listening.Task.WaitAsync(TestLimits.Wait, TestContext.Current.CancellationToken);
        // A server that listens on all addresses announces [::] as its host.
        Http.BaseAddress ??= new UriBuilder(actualUrl) { Host = "127.0.0.1" }.Uri;

        void OnOutput(string? line)
        {
            if (line is null) return;
            _output.Enqueue(line);
            if (line.IndexOf(Announcement, StringComparison.Ordinal) is >= 0 and var index)
                listening.TrySetResult(new(line[(index + Announcement.Length)..]));
        }
    }

    /// <summary>Returns true if the process has loaded a library of this name.</summary>
    public bool HasLoaded(string library) =>
        _process!.Modules.Cast<ProcessModule>().Any(module => module.ModuleName.Equals(library, StringComparison.Ordinal));

    /// <summary>Waits until the process writes a line with this text. Returns the line.</summary>
    public async Task<string> WaitForOutputAsync(string text)
    {
        var watch = Stopwatch.StartNew();
        while (true)
        {
            if (_output.FirstOrDefault(line => line.Contains(text, StringComparison.Ordinal)) is { } found) return found;
            Assert.True(watch.Elapsed < TestLimits.Wait, $"The demo did not write '{text}'. Its output:\n{string.Join('\n', _output)}");
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Kills the process without a shutdown, like a power failure.</summary>
    public async Task KillAsync()
    {
        _process!.Kill();
        await _process.WaitForExitAsync();
    }

    /// <summary>Stops the process with SIGTERM, like a service manager. Returns the exit code.</summary>
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
        await socket.ConnectAsync(GetWebSocketUrl(path), TestContext.Current.CancellationToken);
        return socket;
    }

    public Uri GetWebSocketUrl(string path) => new UriBuilder(Url) { Scheme = "ws", Path = path.Split('?')[0], Query = path.Contains('?') ? path.Split('?', 2)[1] : "" }.Uri;

    /// <summary>
    /// Waits until a group has this number of connections, or the server if the group is null. A connection joins its group shortly
    /// after the handshake.
    /// </summary>
    public async Task WaitForCountAsync(string? group, int count)
    {
        var watch = Stopwatch.StartNew();
        while (await CountAsync(group) is var actual && actual != count)
        {
            Assert.True(watch.Elapsed < TestLimits.Wait, $"{group ?? "The server"} has {actual} connections after {watch.Elapsed.TotalSeconds:F0} s. Expected {count}.");
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Returns the number of connections in a group, or of all connections if the group is null.</summary>
    public async Task<int> CountAsync(string? group = null)
    {
        var query = group is null ? "/count" : $"/count?group={Uri.EscapeDataString(group)}";
        var response = await Http.GetFromJsonAsync<JsonElement>(query, TestContext.Current.CancellationToken);
        return response.GetProperty("connections").GetInt32();
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        _port.Dispose();
        if (_process is null) return;
        if (!_process.HasExited) await KillAsync();
        _process.Dispose();
    }
}
