using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using StackExchange.Redis;

namespace Broadcast.Redis.Benchmarks;

/// <summary>A redis-server process without persistence, on a free port.</summary>
sealed class RedisServer : IAsyncDisposable
{
    readonly Process _process;
    readonly string _directory;
    ConnectionMultiplexer _monitor = null!;

    RedisServer(Process process, string directory, int port) => (_process, _directory, Configuration) = (process, directory, $"127.0.0.1:{port}");

    public string Configuration { get; }

    public string Version => _monitor.GetServers()[0].Version.ToString();

    public Process Process => _process;

    public static async Task<RedisServer> StartAsync()
    {
        var (directory, port) = (Directory.CreateTempSubdirectory("broadcast-redis-").FullName, FreePort());
        var start = new ProcessStartInfo("redis-server", ["--port", $"{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory])
        {
            RedirectStandardOutput = true,
        };
        var process = System.Diagnostics.Process.Start(start) ?? throw new InvalidOperationException("redis-server does not start. Install redis-server.");
        // This handler stops the server even if a signal ends this program.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => process.Kill();
        while (await process.StandardOutput.ReadLineAsync() is { } line && !line.Contains("Ready to accept", StringComparison.Ordinal))
        {
            // Skip the output until the server is ready.
        }

        _ = process.StandardOutput.BaseStream.CopyToAsync(Stream.Null);
        var server = new RedisServer(process, directory, port);
        server._monitor = await ConnectionMultiplexer.ConnectAsync($"{server.Configuration},allowAdmin=true");
        return server;
    }

    /// <summary>Reads the statistics of the server.</summary>
    public async Task<RedisStatistics> ReadStatisticsAsync()
    {
        var all = (await _monitor.GetServers()[0].InfoAsync("all")).SelectMany(static section => section).ToDictionary(static line => line.Key, static line => line.Value);
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
        await _monitor.DisposeAsync();
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

/// <summary>Statistics of a Redis server since its start.</summary>
/// <param name="Cpu">The CPU time of all threads.</param>
/// <param name="In">The number of bytes from clients.</param>
/// <param name="Out">The number of bytes to clients.</param>
/// <param name="Memory">The number of allocated bytes.</param>
/// <param name="Calls">The number of calls per command, including calls from scripts.</param>
readonly record struct RedisStatistics(TimeSpan Cpu, double In, double Out, double Memory, Dictionary<string, long> Calls);
