using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using StackExchange.Redis;

namespace Broadcast.Redis.Benchmarks;

/// <summary>A server of its own, on a free port, which keeps nothing on disk.</summary>
sealed class RedisServer : IAsyncDisposable
{
    readonly Process _process;
    readonly string _directory;
    ConnectionMultiplexer _looking = null!;

    RedisServer(Process process, string directory, int port) => (_process, _directory, Configuration) = (process, directory, $"127.0.0.1:{port}");

    public string Configuration { get; }

    public string Version => _looking.GetServers()[0].Version.ToString();

    public Process Process => _process;

    public static async Task<RedisServer> StartAsync()
    {
        var (directory, port) = (Directory.CreateTempSubdirectory("broadcast-redis-").FullName, FreePort());
        var start = new ProcessStartInfo("redis-server", ["--port", $"{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory])
        {
            RedirectStandardOutput = true,
        };
        var process = System.Diagnostics.Process.Start(start) ?? throw new InvalidOperationException("redis-server cannot be started: install it.");
        // Where this program is told to end.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => process.Kill();
        while (await process.StandardOutput.ReadLineAsync() is { } line && !line.Contains("Ready to accept", StringComparison.Ordinal))
        {
            // Its banner.
        }

        _ = process.StandardOutput.BaseStream.CopyToAsync(Stream.Null);
        var server = new RedisServer(process, directory, port);
        server._looking = await ConnectionMultiplexer.ConnectAsync($"{server.Configuration},allowAdmin=true");
        return server;
    }

    /// <summary>What the server says of itself.</summary>
    public async Task<RedisFigures> LookAsync()
    {
        var all = (await _looking.GetServers()[0].InfoAsync("all")).SelectMany(static section => section).ToDictionary(static line => line.Key, static line => line.Value);
        double Number(string name) => double.Parse(all[name], CultureInfo.InvariantCulture);
        const string Command = "cmdstat_";
        return new(
            TimeSpan.FromSeconds(Number("used_cpu_user") + Number("used_cpu_sys")),
            Number("total_net_input_bytes"),
            Number("total_net_output_bytes"),
            Number("used_memory"),
            all.Where(static line => line.Key.StartsWith(Command, StringComparison.Ordinal))
                .ToDictionary(static line => line.Key[Command.Length..], static line => long.Parse(line.Value.Split('=', ',')[1], CultureInfo.InvariantCulture)));
    }

    public async ValueTask DisposeAsync()
    {
        await _looking.DisposeAsync();
        _process.Kill();
        await _process.WaitForExitAsync();
        Directory.Delete(_directory, recursive: true);
    }

    static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}

/// <param name="Cpu">Of all its threads, since it was started.</param>
/// <param name="In">Bytes from clients.</param>
/// <param name="Out">Bytes to clients.</param>
/// <param name="Memory">Bytes that it has allocated.</param>
/// <param name="Calls">How often each command was called, also by scripts.</param>
readonly record struct RedisFigures(TimeSpan Cpu, double In, double Out, double Memory, Dictionary<string, long> Calls);
