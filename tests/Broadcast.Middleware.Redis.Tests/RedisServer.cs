using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>A real server of its own, which keeps nothing on disk and ends with the test.</summary>
sealed class RedisServer : IAsyncDisposable
{
    /// <summary>The server that the tests run: BROADCAST_TEST_REDIS=/usr/bin/valkey-server takes another one.</summary>
    static readonly string Program = Environment.GetEnvironmentVariable("BROADCAST_TEST_REDIS") is { Length: > 0 } chosen ? chosen : "/usr/bin/redis-server";

    readonly string _directory = Directory.CreateTempSubdirectory("broadcast-redis-").FullName;
    readonly string[] _arguments;
    Process? _process;

    RedisServer(int port, string[] arguments) => (Port, _arguments) = (port, arguments);

    public int Port { get; }

    public string Configuration => $"127.0.0.1:{Port}";

    public static bool Exists => File.Exists(Program);

    /// <summary>The client that comes with it.</summary>
    public static string Client => Program.Replace("-server", "-cli", StringComparison.Ordinal);

    public static void SkipWhereThereIsNone() => Assert.SkipUnless(Exists, $"{Program} is missing: install redis-server.");

    public static RedisServer Absent(params string[] arguments)
    {
        SkipWhereThereIsNone();
        return new(FreePort(), arguments);
    }

    public static async Task<RedisServer> StartAsync(params string[] arguments)
    {
        var server = Absent(arguments);
        await server.StartAgainAsync();
        return server;
    }

    /// <summary>On the same port, with nothing in it, unless its arguments make it keep something.</summary>
    public async Task StartAgainAsync(params string[] more)
    {
        string[] plain = ["--port", $"{Port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", _directory, "--daemonize", "no"];
        var start = new ProcessStartInfo(Program, [.. plain, .. _arguments, .. more]) { RedirectStandardOutput = true, RedirectStandardError = true };
        _process = Process.Start(start)!;
        var ready = new TaskCompletionSource();
        var said = new List<string>();
        _process.OutputDataReceived += (_, line) =>
        {
            lock (said) said.Add(line.Data ?? "(end)");
            if (line.Data?.Contains("Ready to accept connections", StringComparison.Ordinal) == true) ready.TrySetResult();
            if (line.Data is null) ready.TrySetException(new InvalidOperationException(string.Join('\n', said)));
        };
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        await ready.Task.WaitAsync(TimeSpan.FromSeconds(10));
    }

    public async Task KillAsync()
    {
        if (_process is null) return;
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _process = null;
    }

    /// <summary>What it has kept on disk is gone too.</summary>
    public void Forget()
    {
        Directory.Delete(_directory, recursive: true);
        Directory.CreateDirectory(_directory);
    }

    /// <summary>It stays, and does nothing.</summary>
    public Task StopAsync() => SignalAsync("-STOP");

    public Task GoOnAsync() => SignalAsync("-CONT");

    /// <summary>A connection beside those of the nodes, to look and to disturb.</summary>
    public Task<ConnectionMultiplexer> ConnectAsync() => ConnectionMultiplexer.ConnectAsync($"{Configuration},allowAdmin=true");

    public async ValueTask DisposeAsync()
    {
        await KillAsync();
        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>Low enough for a cluster's own port, which is 10,000 higher.</summary>
    public static int FreePort()
    {
        while (true)
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            if (socket.LocalEndPoint is IPEndPoint { Port: < 55_000 } free) return free.Port;
        }
    }

    async Task SignalAsync(string signal)
    {
        using var kill = Process.Start("/bin/kill", [signal, $"{_process!.Id}"]);
        await kill.WaitForExitAsync();
        Assert.Equal(0, kill.ExitCode);
    }
}
